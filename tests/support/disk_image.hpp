// Disk images for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vmm/devices/block/disk_options.hpp"

namespace penumbra::test {

/// A file of its own, removed at the end.
class DiskImage {
public:
    /// In `folder`, or where tests put their files.
    explicit DiskImage(std::uint64_t bytes, const std::filesystem::path& folder = {});
    ~DiskImage();
    DiskImage(const DiskImage&) = delete;
    DiskImage& operator=(const DiskImage&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] vmm::DiskOptions options(vmm::DiskAccess access = vmm::DiskAccess::read_write,
                                           vmm::DiskCaching caching = vmm::DiskCaching::buffered) const {
        return {path_, access, caching};
    }
    void write(std::uint64_t offset, const std::vector<std::byte>& bytes) const;
    [[nodiscard]] std::vector<std::byte> contents() const;
    void resize(std::uint64_t bytes) const;

private:
    std::string path_;
};

/// A folder whose file system reads and writes with O_DIRECT to a medium; nullopt where there is none.
[[nodiscard]] std::optional<std::filesystem::path> direct_folder();

/// Bytes that differ from place to place and from seed to seed.
[[nodiscard]] std::vector<std::byte> pattern(std::uint64_t seed, std::size_t bytes);

}  // namespace penumbra::test
