#include "tests/sim/fiber.hpp"

#include <utility>

#include "base/assert.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define PENUMBRA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PENUMBRA_ASAN 1
#endif
#endif
#if defined(PENUMBRA_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

namespace penumbra::test::sim {

namespace ctx = boost::context::detail;

namespace {

void leave_stack([[maybe_unused]] void** frames, [[maybe_unused]] const void* to, [[maybe_unused]] std::size_t bytes) {
#if defined(PENUMBRA_ASAN)
    ::__sanitizer_start_switch_fiber(frames, to, bytes);
#endif
}
void arrive([[maybe_unused]] void* frames, [[maybe_unused]] const void** from, [[maybe_unused]] std::size_t* bytes) {
#if defined(PENUMBRA_ASAN)
    ::__sanitizer_finish_switch_fiber(frames, from, bytes);
#endif
}

}  // namespace

Fiber::Fiber() {
    Result<MappedRegion> stack = MappedRegion::anonymous(stack_bytes);
    PENUMBRA_ASSERT(stack.has_value(), "no memory for a fiber's stack");
    stack_ = std::move(*stack);
}

void Fiber::begin(std::function<void()> body) {
    PENUMBRA_ASSERT(finished_, "a fiber that is not done was given more to do");
    body_ = std::move(body);
    inside_ = ctx::make_fcontext(stack_.data() + stack_.size(), stack_.size(), &Fiber::enter);
    inner_frames_ = nullptr;
    finished_ = false;
}

void Fiber::enter(ctx::transfer_t from) {
    auto& self = *static_cast<Fiber*>(from.data);
    self.outside_ = from.fctx;
    arrive(nullptr, &self.outer_stack_, &self.outer_bytes_);
    self.body_();
    self.body_ = nullptr;
    self.finished_ = true;
    leave_stack(nullptr, self.outer_stack_, self.outer_bytes_);
    ctx::jump_fcontext(self.outside_, nullptr);
}

void Fiber::resume() {
    leave_stack(&outer_frames_, stack_.data(), stack_.size());
    const ctx::transfer_t back = ctx::jump_fcontext(inside_, this);
    arrive(outer_frames_, nullptr, nullptr);
    inside_ = back.fctx;
}

void Fiber::yield() {
    leave_stack(&inner_frames_, outer_stack_, outer_bytes_);
    const ctx::transfer_t back = ctx::jump_fcontext(outside_, nullptr);
    outside_ = back.fctx;
    arrive(inner_frames_, &outer_stack_, &outer_bytes_);
}

}  // namespace penumbra::test::sim
