#include "notifier-bridge/source/userfaultfd.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/assert.hpp"

namespace penumbra::bridge {

namespace {

// Newer than the distribution's header: struct and number as in include/uapi/linux/userfaultfd.h of Linux 6.8.
struct MoveRequest {
    std::uint64_t target;
    std::uint64_t source;
    std::uint64_t bytes;
    std::uint64_t mode;
    std::int64_t moved;
};
constexpr unsigned long uffdio_move = _IOWR(UFFDIO, 0x05, MoveRequest);
static_assert(sizeof(MoveRequest) == 40);
static_assert(static_cast<std::uint64_t>(UffdFeature::thread_id) == UFFD_FEATURE_THREAD_ID);
static_assert(static_cast<std::uint64_t>(UffdFeature::pagefault_flag_wp) == UFFD_FEATURE_PAGEFAULT_FLAG_WP);

constexpr const char* permission_cure =
    "run as root, or give this user /dev/userfaultfd, or set sysctl vm.unprivileged_userfaultfd=1";

struct Opened {
    UniqueFd fd;
    std::string how;
};

Result<Opened> open_descriptor() {
    if (const UniqueFd device{::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC)}) {
        UniqueFd fd{::ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK)};
        if (fd) return Opened{std::move(fd), "/dev/userfaultfd"};
    }
    UniqueFd fd{static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))};
    if (fd) return Opened{std::move(fd), "userfaultfd(2)"};
    return fail_errno("open", "/dev/userfaultfd", permission_cure);
}

uffdio_range bytes_of(HvpRange range) { return {address_of(range.first()).value(), range.bytes()}; }

/// Repeats an ioctl that reports how many bytes it did until all is done or it stops without progress.
template <class Step>
UffdProgress repeat(std::uint64_t pages, Step&& step) {
    constexpr unsigned idle_limit = 1000;
    UffdProgress progress;
    unsigned idle = 0;
    while (progress.pages < pages) {
        const auto [bytes, error_number] = step(progress.pages);
        if (bytes > 0) {
            progress.pages += static_cast<std::uint64_t>(bytes) >> page_shift;
            idle = 0;
        }
        if (error_number == 0) continue;
        // EAGAIN: the memory map is changing, or a part was done. Both are tried again.
        if (error_number == EAGAIN && ++idle < idle_limit) continue;
        if (error_number == EINTR) continue;
        progress.error_number = error_number;
        return progress;
    }
    return progress;
}

}  // namespace

Result<Userfaultfd::Offer> Userfaultfd::probe() {
    PENUMBRA_TRY_ASSIGN(Opened opened, open_descriptor());
    uffdio_api api{};
    api.api = UFFD_API;
    if (::ioctl(opened.fd.get(), UFFDIO_API, &api) != 0) return fail_errno("agree on an interface with", opened.how);
    return Offer{api.features, opened.how};
}

Result<Userfaultfd> Userfaultfd::open(std::uint64_t wanted) {
    PENUMBRA_TRY_ASSIGN(const Offer offer, probe());
    constexpr std::uint64_t required = UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    if ((offer.features & required) != required) {
        return fail("use", offer.how,
                    "the kernel lacks userfaultfd thread ids or write protection: use Linux 5.7 or newer");
    }
    PENUMBRA_TRY_ASSIGN(Opened opened, open_descriptor());
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = (wanted & offer.features) | required;
    const std::uint64_t features = api.features;
    if (::ioctl(opened.fd.get(), UFFDIO_API, &api) != 0) return fail_errno("agree on features with", opened.how);
    return Userfaultfd{std::move(opened.fd), features};
}

Result<> Userfaultfd::register_range(HvpRange range, RegisterMode mode) {
    uffdio_register request{};
    request.range = bytes_of(range);
    request.mode = UFFDIO_REGISTER_MODE_MISSING;
    if (mode == RegisterMode::missing_and_write_protect) request.mode |= UFFDIO_REGISTER_MODE_WP;
    if (::ioctl(fd_.get(), UFFDIO_REGISTER, &request) != 0) return fail_errno("register memory with", "userfaultfd");
    return {};
}

Result<> Userfaultfd::unregister(HvpRange range) {
    uffdio_range request = bytes_of(range);
    if (::ioctl(fd_.get(), UFFDIO_UNREGISTER, &request) != 0)
        return fail_errno("unregister memory from", "userfaultfd");
    return {};
}

Result<std::size_t> Userfaultfd::read(std::span<FaultMessage> messages) const {
    constexpr std::size_t batch = 32;
    std::array<uffd_msg, batch> raw;
    const ssize_t bytes = ::read(fd_.get(), raw.data(), std::min(batch, messages.size()) * sizeof(uffd_msg));
    if (bytes < 0) {
        if (errno == EAGAIN || errno == EINTR) return 0;
        return fail_errno("read", "userfaultfd");
    }
    std::size_t count = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(bytes) / sizeof(uffd_msg); ++i) {
        PENUMBRA_ASSERT(raw[i].event == UFFD_EVENT_PAGEFAULT, "a userfaultfd event that was not asked for");
        const auto& fault = raw[i].arg.pagefault;
        messages[count++] =
            FaultMessage{Hva{fault.address}, static_cast<pid_t>(fault.feat.ptid),
                         (fault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0, (fault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0};
    }
    return count;
}

Result<> Userfaultfd::set_reads(Reads reads) {
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    const int wanted = reads == Reads::blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, wanted) != 0) return fail_errno("set up", "userfaultfd");
    return {};
}

UffdProgress Userfaultfd::copy(Hvp target, Hva source, std::uint64_t pages) const {
    return repeat(pages, [&](std::uint64_t done) {
        uffdio_copy request{};
        request.dst = address_of(target + done).value();
        request.src = source.value() + (done << page_shift);
        request.len = (pages - done) << page_shift;
        const int error_number = ::ioctl(fd_.get(), UFFDIO_COPY, &request) == 0 ? 0 : errno;
        return std::pair{static_cast<std::int64_t>(request.copy), error_number};
    });
}

UffdProgress Userfaultfd::zero(Hvp target, std::uint64_t pages) const {
    return repeat(pages, [&](std::uint64_t done) {
        uffdio_zeropage request{};
        request.range = bytes_of(HvpRange{target + done, pages - done});
        const int error_number = ::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request) == 0 ? 0 : errno;
        return std::pair{static_cast<std::int64_t>(request.zeropage), error_number};
    });
}

UffdProgress Userfaultfd::move(Hvp target, Hvp source, std::uint64_t pages) const {
    return repeat(pages, [&](std::uint64_t done) {
        MoveRequest request{};
        request.target = address_of(target + done).value();
        request.source = address_of(source + done).value();
        request.bytes = (pages - done) << page_shift;
        const int error_number = ::ioctl(fd_.get(), uffdio_move, &request) == 0 ? 0 : errno;
        return std::pair{request.moved, error_number};
    });
}

int Userfaultfd::write_protect(HvpRange range, WriteProtection protection) const {
    uffdio_writeprotect request{};
    request.range = bytes_of(range);
    request.mode = protection == WriteProtection::apply ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
    for (unsigned attempt = 0; attempt < 1000; ++attempt) {
        if (::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &request) == 0) return 0;
        if (errno != EAGAIN && errno != EINTR) return errno;
    }
    return EAGAIN;
}

void Userfaultfd::wake(HvpRange range) const {
    uffdio_range request = bytes_of(range);
    const int rc = ::ioctl(fd_.get(), UFFDIO_WAKE, &request);
    PENUMBRA_ASSERT(rc == 0, "UFFDIO_WAKE refused a page-aligned range");
}

}  // namespace penumbra::bridge
