// A block device for tests.
#pragma once

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cstdint>
#include <string>

#include "base/unique_fd.hpp"
#include "tests/support/disk_image.hpp"

namespace penumbra::test {

/// A loop device over an image; its path is empty where this user may not have one.
class LoopDevice {
public:
    LoopDevice(const DiskImage& image, std::uint32_t block) : file_(::open(image.path().c_str(), O_RDWR | O_CLOEXEC)) {
        const UniqueFd control{::open("/dev/loop-control", O_RDWR | O_CLOEXEC)};
        // Another process may take the free one first.
        for (int attempt = 0; control && path_.empty() && attempt < 16; ++attempt) {
            const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
            if (number < 0) return;
            const std::string path = "/dev/loop" + std::to_string(number);
            device_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
            loop_config config{};
            config.fd = static_cast<std::uint32_t>(file_.get());
            config.block_size = block;
            if (device_ && ::ioctl(device_.get(), LOOP_CONFIGURE, &config) == 0) path_ = path;
        }
        if (!path_.empty()) make_writable();
    }
    ~LoopDevice() {
        if (path_.empty()) return;
        make_writable();
        ::ioctl(device_.get(), LOOP_CLR_FD);
    }
    LoopDevice(const LoopDevice&) = delete;
    LoopDevice& operator=(const LoopDevice&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    /// Being read-only outlives the image that the device stood for.
    void make_writable() const {
        const int no = 0;
        ::ioctl(device_.get(), BLKROSET, &no);
    }

    UniqueFd file_;
    UniqueFd device_;
    std::string path_;
};

}  // namespace penumbra::test
