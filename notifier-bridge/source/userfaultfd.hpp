// The one wrapper of userfaultfd(2): registration, messages and the ioctls that change memory. Rules and races: kernel
// Documentation/admin-guide/mm/userfaultfd.rst, fs/userfaultfd.c, mm/userfaultfd.c.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/range.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace penumbra::bridge {

/// Feature bits of UFFDIO_API, by their kernel numbers.
enum class UffdFeature : std::uint64_t {
    pagefault_flag_wp = 1ULL << 0,
    thread_id = 1ULL << 8,
    move = 1ULL << 16,
};

enum class WriteProtection : std::uint8_t { remove, apply };
enum class RegisterMode : std::uint8_t { missing, missing_and_write_protect };

struct FaultMessage {
    Hva address{};
    pid_t thread = 0;  ///< kernel thread id of the faulting thread
    bool is_write = false;
    bool is_write_protect = false;  ///< the page is there, but write-protected
};

/// How far an ioctl came: pages done from the front, and the errno that stopped it (0: all done).
struct UffdProgress {
    std::uint64_t pages = 0;
    int error_number = 0;
};

class Userfaultfd {
public:
    /// What the kernel offers, without keeping a descriptor.
    struct Offer {
        std::uint64_t features = 0;
        std::string how;  ///< "/dev/userfaultfd" or "userfaultfd(2)"
        [[nodiscard]] bool has(UffdFeature f) const { return (features & static_cast<std::uint64_t>(f)) != 0; }
    };
    [[nodiscard]] static Result<Offer> probe();
    /// Opens with those of `wanted` that the kernel offers; THREAD_ID and write-protect are required.
    [[nodiscard]] static Result<Userfaultfd> open(std::uint64_t wanted);

    [[nodiscard]] Result<> register_range(HvpRange range, RegisterMode mode);
    [[nodiscard]] Result<> unregister(HvpRange range);

    /// Whether read() sleeps until there is a message. One system call less per fault than waiting and then reading.
    enum class Reads : std::uint8_t { at_once, blocking };
    [[nodiscard]] Result<> set_reads(Reads reads);
    /// At most messages.size() messages; none when there are none, or a signal came. Thread-safe.
    [[nodiscard]] Result<std::size_t> read(std::span<FaultMessage> messages) const;

    /// The ioctls retry EAGAIN that made progress; they are thread-safe and wake sleepers where memory becomes present.
    [[nodiscard]] UffdProgress copy(Hvp target, Hva source, std::uint64_t pages) const;
    [[nodiscard]] UffdProgress zero(Hvp target, std::uint64_t pages) const;
    [[nodiscard]] UffdProgress move(Hvp target, Hvp source, std::uint64_t pages) const;
    [[nodiscard]] int write_protect(HvpRange range, WriteProtection protection) const;
    void wake(HvpRange range) const;

    [[nodiscard]] bool has(UffdFeature f) const { return (features_ & static_cast<std::uint64_t>(f)) != 0; }
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    Userfaultfd(UniqueFd fd, std::uint64_t features) : fd_(std::move(fd)), features_(features) {}

    UniqueFd fd_;
    std::uint64_t features_ = 0;
};

}  // namespace penumbra::bridge
