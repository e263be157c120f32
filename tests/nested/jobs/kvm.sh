#!/bin/sh
# The machine tests on hardware page tables, with the sizes and bounds of a slow host (tests/support/pace.hpp).
# lab: kernels=6.1,6.12 limit=900 ci=none
#
# Left out: what is about KVM without hardware virtualization; 256 MiB over 16 MiB, which takes minutes here; pauses of a
# guest in ring 0, which is no different from ring 3 here. By its full path: death tests start it again.
"$LAB_BUILD/tests/test_kvm" --gtest_output="xml:$OUT/test_kvm.xml" \
    --gtest_filter='-*InstructionThatKvmCannotInterpret*:*EndsCleanAtSixteenToOne:*/MachinePause.*/ring0'
