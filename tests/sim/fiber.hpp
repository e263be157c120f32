// One fiber: a body with a stack of its own, run by the calling thread until it yields. Switches take tens of
// nanoseconds and tell AddressSanitizer about the stacks.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <functional>

#include "base/mapped_region.hpp"

namespace penumbra::test::sim {

/// Stays where it is; a fiber that has not finished when it is destroyed leaves what its stack owns behind.
class Fiber {
public:
    static constexpr std::size_t stack_bytes = std::size_t{512} << 10;

    Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    /// Gives it something to do; it must have finished what it had.
    void begin(std::function<void()> body);
    /// From outside: runs it until it yields or ends.
    void resume();
    /// From inside: back to who resumed it.
    void yield();
    [[nodiscard]] bool finished() const { return finished_; }

private:
    static void enter(boost::context::detail::transfer_t from);

    MappedRegion stack_;
    std::function<void()> body_;
    boost::context::detail::fcontext_t inside_ = nullptr;
    boost::context::detail::fcontext_t outside_ = nullptr;
    bool finished_ = true;
    // For AddressSanitizer: frames set aside on either side, and the stack of who resumed it.
    void* inner_frames_ = nullptr;
    void* outer_frames_ = nullptr;
    const void* outer_stack_ = nullptr;
    std::size_t outer_bytes_ = 0;
};

}  // namespace penumbra::test::sim
