#include "tests/sim/seen.hpp"

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace penumbra::test::sim {

namespace {

/// The actor of an action, by number, and whether there may be two.
struct Role {
    unsigned actor;
    bool several;
};

Role role_of(Op op) {
    switch (op) {
        case Op::vcpu_read:
        case Op::vcpu_write:
        case Op::vcpu_clear:
            return {0, true};
        case Op::vmm_touch:
            return {1, false};
        case Op::device_read:
        case Op::device_write:
            return {2, false};
        case Op::io_hold:
        case Op::io_again:
        case Op::io_two:
            return {3, true};
        case Op::evict:
        case Op::evict_now:
        case Op::sweep:
            return {4, true};
        case Op::discard:
            return {5, false};
        case Op::pack:
        case Op::kick:
        case Op::want_slots:
            return {6, false};
        case Op::come_and_go:
            return {7, false};
        default:
            return {8, false};
    }
}

}  // namespace

bool can_meet(Op a, Op b) { return role_of(a).actor != role_of(b).actor || role_of(a).several; }

void Seen::add(const Seen& other) {
    for (std::size_t i = 0; i < op_count; ++i) {
        runs[i] += other.runs[i];
        for (std::size_t j = 0; j < op_count; ++j) pairs[i][j] += other.pairs[i][j];
    }
    for (const auto member : {&Seen::steps, &Seen::seeds, &Seen::put_in, &Seen::taken, &Seen::kept, &Seen::refused,
                              &Seen::dropped, &Seen::rescued, &Seen::swapped_in, &Seen::zero_pages, &Seen::would_block,
                              &Seen::retries, &Seen::waits_for_room}) {
        this->*member += other.*member;
    }
}

std::vector<std::string> Seen::missing() const {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < op_count; ++i) {
        const Op a{static_cast<std::uint8_t>(i)};
        if (runs[i] == 0) names.emplace_back(name_of(a));
        for (std::size_t j = i; j < op_count; ++j) {
            const Op b{static_cast<std::uint8_t>(j)};
            if (can_meet(a, b) && pairs[i][j] == 0)
                names.push_back(std::string(name_of(a)) + " with " + std::string(name_of(b)));
        }
    }
    return names;
}

std::string Seen::text() const {
    std::ostringstream out;
    out << seeds << " seeds, " << steps << " steps; pages put in " << put_in << ", refused " << refused << ", taken "
        << taken << ", kept " << kept << ", dropped " << dropped << ", rescued " << rescued << ", swapped in "
        << swapped_in << ", found zero " << zero_pages << "; would block " << would_block << ", retries " << retries
        << ", waits for room " << waits_for_room << "\nactions, and how often each met each:\n";
    for (std::size_t i = 0; i < op_count; ++i) {
        out << std::setw(13) << name_of(Op{static_cast<std::uint8_t>(i)}) << std::setw(9) << runs[i] << "  ";
        for (std::size_t j = 0; j <= i; ++j) out << ' ' << pairs[j][i];
        out << '\n';
    }
    return out.str();
}

}  // namespace penumbra::test::sim
