#!/bin/sh
# The page walk against a processor with nested paging: no KVM in between answers a page fault of the guest.
# lab: kernels=6.12 limit=600 ci=none cpus=1
"$LAB_BUILD/tests/test_walk" --gtest_output="xml:$OUT/test_walk.xml" --gtest_filter='KvmWalkImage.*'
