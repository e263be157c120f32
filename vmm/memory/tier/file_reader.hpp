// Reads pages back from a file tier, each reader with a ring and buffer of its own so that none waits for another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/memory/tier/file_tier.hpp"
#include "vmm/memory/tier/io_ring.hpp"
#include "vmm/memory/tier/tier.hpp"

namespace penumbra::vmm {

struct ReadItem {
    StoreHandle handle{};
    PageOwner owner;
    std::byte* out = nullptr;  ///< one page; spoilt where it does not decode or its check does not match
};

/// One thread at a time; ends before its tier.
class FileReader {
public:
    static constexpr unsigned depth = 32;  ///< reads in flight at once
    static constexpr std::size_t buffer_bytes = depth * page_bytes;
    static constexpr std::uint64_t registered_at_most = std::uint64_t{2} << 20;  ///< all of a tier's rings together

    ~FileReader();
    FileReader(const FileReader&) = delete;
    FileReader& operator=(const FileReader&) = delete;

    [[nodiscard]] StoreResult<> read(StoreHandle handle, const PageOwner& owner, PageBytes out);
    /// `outcomes`, as long as `items`, says which pages were filled; the result is the first failure in full words.
    [[nodiscard]] StoreResult<> read_batch(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes);

private:
    friend class FileTier;
    FileReader(FileTier& tier, IoRing ring) : tier_(tier), ring_(std::move(ring)) {}

    void read_some(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes, StoreResult<>& result);

    FileTier& tier_;
    IoRing ring_;
};

}  // namespace penumbra::vmm
