#!/bin/sh
# Shared virtual memory on hardware page tables: short runs in every mode, and with one part of the protocol left out each.
# lab: kernels=6.1,6.12 ci=none limit=600
#
# By its full path: see kvm.sh.
"$LAB_BUILD/tests/test_kvm" --gtest_output="xml:$OUT/test_svm.xml" --gtest_filter='*MachineSvm*:*ASingleCpuFeeds*'
