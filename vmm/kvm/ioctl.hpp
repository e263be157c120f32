// ioctl that goes on after a signal. KVM_RUN is the exception: there a signal is an answer, so it does not use this.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>

namespace penumbra::vmm {

template <class Argument>
[[nodiscard]] int ioctl_retry(int fd, unsigned long request, Argument argument) {
    int result = 0;
    do {
        result = ::ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result;
}

}  // namespace penumbra::vmm
