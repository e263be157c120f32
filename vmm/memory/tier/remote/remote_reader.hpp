// Reads pages back from a remote tier, each reader with connections of its own so that none waits for another.
#pragma once

#include <memory>
#include <span>

#include "vmm/memory/tier/file_reader.hpp"
#include "vmm/memory/tier/remote/link.hpp"
#include "vmm/memory/tier/remote/remote_tier.hpp"

namespace penumbra::vmm {

/// One thread at a time; ends before its tier.
class RemoteReader {
public:
    static constexpr unsigned depth = 32;  ///< reads in flight at once

    RemoteReader(const RemoteReader&) = delete;
    RemoteReader& operator=(const RemoteReader&) = delete;

    [[nodiscard]] StoreResult<> read(StoreHandle handle, const PageOwner& owner, PageBytes out);
    /// `outcomes`, as long as `items`, says which pages were filled; the result is the first failure in full words.
    /// Takes at most the answer timeout and twice the connect timeout for each `depth` of `items`.
    [[nodiscard]] StoreResult<> read_batch(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes);

private:
    friend class RemoteTier;
    class Reading;
    explicit RemoteReader(RemoteTier& tier) : tier_(tier), link_(tier.access_, tier.status_) {}

    [[nodiscard]] StoreResult<> read_some(std::span<const ReadItem> items, std::span<StoreOutcome> outcomes);

    RemoteTier& tier_;
    Link link_;
};

}  // namespace penumbra::vmm
