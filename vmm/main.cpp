#include "notifier-bridge/source/userfaultfd.hpp"
#include "vmm/control/cli.hpp"
#include "vmm/run.hpp"

int main(int argc, char** argv) {
    using namespace penumbra;
    vmm::Handlers handlers;
    handlers.run = vmm::run_machine;
    handlers.userfaultfd_facts = [] {
        vmm::UserfaultfdFacts facts;
        if (Result<bridge::Userfaultfd::Offer> offer = bridge::Userfaultfd::probe()) {
            facts = {true, offer->how, offer->features, {}};
        } else {
            facts.why = std::move(offer).error();
        }
        return facts;
    };
    return vmm::cli_main(argc, argv, handlers);
}
