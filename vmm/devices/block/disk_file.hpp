// A disk's file or block device, opened, locked and measured.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "vmm/devices/block/disk_options.hpp"

namespace penumbra::vmm {

inline constexpr std::uint32_t sector_bytes = 512;

enum class DiskKind : std::uint8_t { file, block_device };
/// Whether space can be given back to the host. Without it a discard does nothing, which the standard allows.
enum class DiskDiscard : std::uint8_t { works, ignored };

/// All in bytes but where said.
struct DiskLimits {
    std::uint64_t bytes = 0;                      ///< multiple of sector_bytes and of `block`
    std::uint32_t block = sector_bytes;           ///< smallest transfer; also the alignment that direct I/O wants
    std::uint32_t physical_block = sector_bytes;  ///< smallest write that needs no read; power of two, >= block
    std::uint32_t discard_granularity = sector_bytes;
    DiskDiscard discard = DiskDiscard::works;
};

/// Thread-safe after open. The lock lives as long as the object, also across fork(2) in the child.
class DiskFile {
public:
    /// Readers share a disk, a writer has it alone; that is enforced between processes and within one. Every error
    /// names the path, the cause and a cure.
    [[nodiscard]] static Result<DiskFile> open(const DiskOptions& options);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] DiskKind kind() const { return kind_; }
    [[nodiscard]] const DiskOptions& options() const { return options_; }
    [[nodiscard]] const DiskLimits& limits() const { return limits_; }
    [[nodiscard]] bool writable() const { return options_.access == DiskAccess::read_write; }
    [[nodiscard]] bool direct() const { return options_.caching == DiskCaching::direct; }

    /// What the guest sees as the serial number (virtio 1.2, 5.2.6: 20 bytes of ASCII, padded with zeroes): the file's
    /// name where it fits, else its beginning and a hash of the whole path.
    [[nodiscard]] std::array<char, 20> serial() const;

private:
    DiskFile(DiskOptions options, DiskKind kind) : options_(std::move(options)), kind_(kind) {}

    [[nodiscard]] Result<> open_descriptor();
    [[nodiscard]] Result<> lock();
    [[nodiscard]] Result<> measure_file();
    [[nodiscard]] Result<> measure_device();
    [[nodiscard]] Result<> check_size() const;
    [[nodiscard]] Result<> check_direct();
    void look_at_discard(std::uint64_t device_number);

    DiskOptions options_;
    DiskKind kind_;
    UniqueFd fd_;
    DiskLimits limits_;
};

}  // namespace penumbra::vmm
