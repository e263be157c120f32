#include "tests/sim/plan.hpp"

#include <random>
#include <sstream>

namespace penumbra::test::sim {

namespace {

constexpr std::uint32_t roomy = 64;

/// Draws the parts of a plan.
class Draw {
public:
    explicit Draw(std::uint64_t seed) : random_(seed * 0x9E37'79B9'7F4A'7C15 + 1) {}
    [[nodiscard]] std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }
    [[nodiscard]] std::uint32_t between(std::uint32_t least, std::uint32_t most) {
        return least + below(most - least + 1);
    }
    [[nodiscard]] bool one_in(std::uint32_t n) { return below(n) == 0; }
    template <std::size_t n>
    [[nodiscard]] Op of(const std::array<Op, n>& ops) {
        return ops[below(n)];
    }

private:
    std::mt19937_64 random_;
};

struct Kind {
    const char* name;
    std::vector<Op> ops;
    std::uint32_t least;
    std::uint32_t most;
};

const std::vector<Kind>& kinds() {
    static const std::vector<Kind> all{
        {"vcpu", {Op::vcpu_read, Op::vcpu_write, Op::vcpu_write, Op::vcpu_clear}, 1, 2},
        {"vmm", {Op::vmm_touch}, 0, 1},
        {"device", {Op::device_read, Op::device_write}, 0, 1},
        {"io", {Op::io_hold, Op::io_hold, Op::io_again, Op::io_two}, 0, 2},
        {"evictor", {Op::evict, Op::evict, Op::evict, Op::evict_now, Op::sweep}, 1, 2},
        {"discarder", {Op::discard}, 0, 1},
        {"packer", {Op::pack, Op::pack, Op::kick, Op::want_slots}, 0, 1},
        {"comer", {Op::come_and_go}, 0, 1},
        {"saboteur", {Op::sabotage}, 0, 1},
    };
    return all;
}

Action action_of(Op op, const Plan& plan, Draw& draw) {
    Action action{.op = op, .page = draw.below(plan.pages)};
    // Few pages are hot, so that actors meet.
    if (!draw.one_in(3)) action.page = draw.below(std::min(plan.pages, 3U));
    action.pages = draw.one_in(2) ? 1 : draw.between(1, 4);
    action.spread = draw.below(plan.pages);
    action.linger = draw.one_in(3) ? draw.between(1, 12) : draw.below(3);
    return action;
}

/// What a plan is about: everything at once, or much of little.
enum class Theme : std::uint8_t { crowd, narrow, packing, tight, disk, copies, count };

std::uint32_t number_of(const Kind& kind, Theme theme, Draw& draw) {
    const std::string_view name = kind.name;
    switch (theme) {
        case Theme::narrow:
            return std::max(kind.least, draw.one_in(4) ? 1U : 0U);
        case Theme::packing:
            return name == "packer" ? 2 : kind.least + (name == "discarder" ? draw.below(2) : 0);
        case Theme::tight:
        case Theme::disk:
            return name == "vcpu" ? draw.between(2, 3) : draw.below(kind.least + 2);
        case Theme::copies:
            if (name == "vcpu" || name == "packer") return 2;
            return name == "discarder" ? draw.below(2) : kind.least;
        default:
            return draw.between(kind.least, kind.most);
    }
}

void set_sizes(Plan& plan, Theme theme, Draw& draw) {
    plan.pages = draw.between(4, 12);
    plan.limbo_slots = draw.between(4, 10);
    plan.budget_pages = draw.one_in(3) ? roomy : draw.between(plan.pages / 2 + 5, plan.pages + 5);
    plan.file = draw.one_in(3);
    plan.compress = !plan.file || !draw.one_in(3);
    plan.early_release = draw.one_in(4);
    if (theme == Theme::narrow || theme == Theme::packing) {
        plan.pages = draw.between(2, 5);
        plan.budget_pages = roomy;
        plan.file = theme == Theme::packing && draw.one_in(4);
    }
    if (theme == Theme::packing) plan.limbo_slots = draw.between(2, 4);
    if (theme == Theme::tight || theme == Theme::disk) {
        plan.file = theme == Theme::disk;
        plan.compress = !plan.file || draw.one_in(3);
        plan.budget_pages = plan.pages / 2 + draw.between(4, 6);
        plan.early_release = draw.one_in(2);
    }
    if (theme == Theme::copies) {
        plan.compress = true;
        plan.file = draw.one_in(2);
        plan.pages = plan.file ? draw.between(6, 10) : draw.between(2, 4);
        plan.budget_pages = plan.file ? plan.pages / 2 + 4 : roomy;
        plan.limbo_slots = draw.between(2, 4);
    }
}

}  // namespace

std::string_view name_of(Op op) {
    static constexpr std::array<std::string_view, op_count> names{
        "vcpu-read", "vcpu-write", "vcpu-clear", "vmm-touch",  "device-read", "device-write",
        "io-hold",   "io-again",   "io-two",     "evict",      "evict-now",   "sweep",
        "discard",   "pack",       "kick",       "want-slots", "come-and-go", "sabotage"};
    return names[static_cast<std::size_t>(op)];
}

std::size_t Plan::actions() const {
    std::size_t total = 0;
    for (const Actor& actor : actors) total += actor.actions.size();
    return total;
}

std::string Plan::text() const {
    std::ostringstream out;
    out << "  " << pages << " pages, budget " << budget_pages << ", limbo " << limbo_slots
        << (compress ? ", compressed" : "") << (file ? ", file" : "") << (early_release ? ", early release" : "")
        << ", refuses 1/" << moods.refuses_put_in << ", keeps 1/" << moods.keeps_page;
    for (const Actor& actor : actors) {
        out << "\n  " << actor.name << ':';
        for (const Action& action : actor.actions) {
            out << ' ' << name_of(action.op) << '(' << action.page << 'x' << action.pages << '+' << action.spread << '~'
                << action.linger << ')';
        }
    }
    return out.str();
}

Plan plan_of(std::uint64_t seed) {
    Draw draw(seed);
    Plan plan;
    plan.seed = seed;
    const Theme theme{static_cast<std::uint8_t>(draw.below(static_cast<std::uint32_t>(Theme::count)))};
    set_sizes(plan, theme, draw);
    if (draw.one_in(3)) plan.moods = {.refuses_put_in = draw.between(4, 30), .keeps_page = draw.between(3, 20)};
    const std::uint32_t length = theme != Theme::copies && draw.one_in(2) ? draw.between(2, 6) : draw.between(6, 24);
    // Who holds a page and waits for another gets it only while nobody loses patience with him (io_table.hpp): so no
    // I/O takes long then, and room is no question.
    const bool two = plan.budget_pages == roomy && draw.one_in(2);
    for (const Kind& kind : kinds()) {
        for (std::uint32_t i = 0, n = number_of(kind, theme, draw); i < n; ++i) {
            Actor actor{kind.name + std::to_string(i), {}};
            for (std::uint32_t a = 0, most = draw.between(1, length); a < most; ++a) {
                const auto ops = static_cast<std::uint32_t>(kind.ops.size());
                Op op = kind.ops[draw.below(ops)];
                // Pages keep their copies while they are only read.
                if (theme == Theme::copies && op == Op::pack && plan.file) op = Op::kick;
                if (theme == Theme::copies && op == Op::vcpu_clear) op = a > 1 ? Op::vcpu_read : Op::vcpu_write;
                if (theme == Theme::copies && op == Op::vcpu_write && a > 1 && !draw.one_in(4)) op = Op::vcpu_read;
                // Only one may wait for slots at a time.
                Action action = action_of(i > 0 && op == Op::want_slots ? Op::pack : op, plan, draw);
                if (op == Op::io_two && !two) action.op = Op::io_hold;
                if (two) action.linger = std::min(action.linger, most_turns);
                actor.actions.push_back(action);
            }
            plan.actors.push_back(std::move(actor));
        }
    }
    return plan;
}

}  // namespace penumbra::test::sim
