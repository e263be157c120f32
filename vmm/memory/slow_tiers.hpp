// The tiers behind memory, in one place: a file, and a store on the network that takes what the file has no room for.
//
// Threads: as FileTier and RemoteTier. Readers end before it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "vmm/memory/page_state.hpp"
#include "vmm/memory/tier/file_reader.hpp"
#include "vmm/memory/tier/file_tier.hpp"
#include "vmm/memory/tier/remote/remote_reader.hpp"
#include "vmm/memory/tier/remote/remote_tier.hpp"

namespace penumbra::vmm {

/// Where one item of a batch went; nowhere: `failure` says why.
struct SlowOutcome {
    PageCopy copy;
    StoreFailure failure = StoreFailure::full;

    [[nodiscard]] bool stored() const { return copy.exists(); }
};

class SlowReader {
public:
    static constexpr unsigned depth = 32;
    static_assert(depth == FileReader::depth && depth == RemoteReader::depth);

    struct Item {
        PageCopy copy;
        PageOwner owner;
        std::byte* out = nullptr;  ///< one page, filled only when its check matched and it decoded
    };

    SlowReader(std::unique_ptr<FileReader> file, std::unique_ptr<RemoteReader> remote)
        : file_(std::move(file)), remote_(std::move(remote)) {}

    [[nodiscard]] StoreResult<> read(PageCopy copy, const PageOwner& owner, PageBytes out);
    /// At most `depth` items. `filled`, as long as they are, says which pages can be used.
    void read_batch(std::span<const Item> items, std::span<bool> filled);

private:
    std::unique_ptr<FileReader> file_;
    std::unique_ptr<RemoteReader> remote_;
};

class SlowTiers {
public:
    SlowTiers() = default;
    /// Either may be null.
    SlowTiers(std::unique_ptr<FileTier> file, std::unique_ptr<RemoteTier> remote)
        : file_(std::move(file)), remote_(std::move(remote)) {}

    [[nodiscard]] bool any() const { return file_ || remote_; }
    [[nodiscard]] FileTier* file() const { return file_.get(); }
    [[nodiscard]] RemoteTier* remote() const { return remote_.get(); }

    /// Of at most `most_items` those that no outcome calls stored yet, each in the first tier that has room. The result
    /// is the first failure of the last tier that was asked.
    static constexpr std::size_t most_items = 64;
    [[nodiscard]] StoreResult<> write_batch(std::span<const FileItem> items, std::span<SlowOutcome> outcomes);
    void drop(PageCopy copy);
    /// As FileTier::matches().
    [[nodiscard]] bool matches(PageCopy copy, const PageOwner& owner, ConstPageBytes page) const;
    [[nodiscard]] Result<std::unique_ptr<SlowReader>> make_reader();

private:
    std::unique_ptr<FileTier> file_;
    std::unique_ptr<RemoteTier> remote_;
};

}  // namespace penumbra::vmm
