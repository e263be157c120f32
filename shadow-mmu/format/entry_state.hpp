// The states an entry can be in, whatever its format encodes them as.
#pragma once

#include <cstdint>

namespace penumbra::mmu {

enum class EntryState : std::uint8_t {
    empty,    ///< nothing mapped; a fault may claim it
    busy,     ///< claimed by one fault, which is putting the page in; nobody else may change it
    present,  ///< a leaf: translations may be cached by a TLB
    frozen,   ///< a leaf being zapped: keeps its frame, translates nothing, nobody but the zapper may change it
    table,    ///< names a lower table page
};

enum class Permission : std::uint8_t { read, read_write };

}  // namespace penumbra::mmu
