// The driver's side of the rings: taking chains.
#include <utility>

#include "vmm/devices/virtio/full_fence.hpp"
#include "vmm/devices/virtio/virtqueue.hpp"

namespace penumbra::vmm {

namespace {

constexpr std::uint16_t used_flag_no_notify = 1;

}  // namespace

void Virtqueue::poll() {
    if (state_ != State::running || paused_ || awaits_page_ || take_posted_) return;
    const Batch batch(*this);
    take_all();
}

// Each step keeps what it learned, and after a wait the very step that waited comes first, while its page is held.
void Virtqueue::take_all() {
    std::uint16_t budget = settings_.size;
    const auto go_on_later = [this] {
        awaits_page_ = false;
        poll();
    };
    for (;;) {
        const bool more = next_available_ != seen_available_;
        if (more && budget-- == 0) return take_later();
        mmu::FaultAccess access = mmu::FaultAccess::read;
        std::expected<Step, DmaMiss> step;
        if (more) {
            step = take_one();
        } else if (found_nothing_ && !armed_) {
            access = mmu::FaultAccess::write;
            step = arm();
        } else {
            step = look();
        }
        if (!step) {
            awaits_page_ = true;
            wait_for(step.error(), parts_.dma.missing(), access, go_on_later);
            return;
        }
        if (*step == Step::end || state_ != State::running) return;
    }
}

void Virtqueue::take_later() {
    // Others on this loop have their turn, however fast the driver feeds this queue.
    take_posted_ = true;
    parts_.loop.post([this, session = session_] {
        if (session != session_) return;
        take_posted_ = false;
        poll();
    });
}

std::expected<Virtqueue::Step, DmaMiss> Virtqueue::look() {
    const auto index = parts_.dma.load16(available_index());
    if (!index) return std::unexpected{index.error()};
    const auto waiting = static_cast<std::uint16_t>(*index - next_available_);
    const auto outstanding = static_cast<std::uint16_t>(*index - published_);
    if (waiting > settings_.size || outstanding > settings_.size) {
        fail("more chains are available than the queue holds");
        return Step::end;
    }
    if (waiting == 0) {
        if (armed_) return Step::end;
        found_nothing_ = true;
        return Step::on;
    }
    found_nothing_ = armed_ = false;
    seen_available_ = *index;
    disarm();
    return Step::on;
}

std::expected<Virtqueue::Step, DmaMiss> Virtqueue::arm() {
    if (event_index_ || told_quiet_) {
        const auto stored =
            event_index_ ? parts_.dma.store16(avail_event(), next_available_) : parts_.dma.store16(settings_.used, 0);
        if (!stored) return std::unexpected{stored.error()};
    }
    told_quiet_ = false;
    armed_ = true;
    // 2.7.10: the driver publishes its index, then reads what we just stored; we do it the other way round. One of the
    // two sees the other's store.
    full_fence();
    return Step::on;
}

void Virtqueue::disarm() {
    // With an event index the old one lies behind the driver and asks for nothing. Without, the flag is a mere hint:
    // not worth bringing a page in.
    if (event_index_ || told_quiet_) return;
    told_quiet_ = parts_.dma.store16(settings_.used, used_flag_no_notify).has_value();
}

std::expected<Virtqueue::Step, DmaMiss> Virtqueue::take_one() {
    const std::uint64_t slot = next_available_ % settings_.size;
    const auto head = parts_.dma.load16(settings_.available + 4 + 2 * slot);
    if (!head) return std::unexpected{head.error()};
    if (*head >= settings_.size) {
        fail("an available chain's head lies outside of the descriptor table");
        return Step::end;
    }
    if (with_device_[*head]) {
        fail("a chain was made available twice");
        return Step::end;
    }
    with_device_[*head] = true;
    ++next_available_;
    ++in_flight_;
    const ChainRules rules{settings_.descriptors, settings_.size, indirect_};
    parsers_.emplace_back(rules, *head, session_, next_sequence_++);
    parse(std::prev(parsers_.end()));
    return Step::on;
}

void Virtqueue::parse(Parsers::iterator parser) {
    switch (parser->go_on(parts_.dma)) {
        case ChainParser::Step::broken:
            return fail(parser->why());
        case ChainParser::Step::absent:
            wait_for(DmaMiss::absent, parts_.dma.missing(), mmu::FaultAccess::read, [this, parser] {
                const Batch batch(*this);
                parse(parser);
            });
            return;
        case ChainParser::Step::done:
            break;
    }
    Chain chain = parser->take();
    parsers_.erase(parser);
    deliver(std::move(chain));
}

void Virtqueue::deliver(Chain chain) {
    if (delivery_ == Delivery::as_ready) {
        counters_.chains.add();
        return parts_.listener.chain_arrived(*this, std::move(chain));
    }
    parsed_.emplace(chain.sequence, std::move(chain));
    while (state_ == State::running && !parsed_.empty() && parsed_.begin()->first == next_delivered_) {
        ++next_delivered_;
        counters_.chains.add();
        parts_.listener.chain_arrived(*this, std::move(parsed_.extract(parsed_.begin()).mapped()));
    }
}

}  // namespace penumbra::vmm
