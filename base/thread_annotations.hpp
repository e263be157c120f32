// Clang's thread-safety attributes (clang.llvm.org, "Thread Safety Analysis"); nothing under other compilers.
#pragma once

#if defined(__clang__)
#define PENUMBRA_TSA(x) __attribute__((x))
#else
#define PENUMBRA_TSA(x)
#endif

#define CAPABILITY(x) PENUMBRA_TSA(capability(x))
#define SCOPED_CAPABILITY PENUMBRA_TSA(scoped_lockable)
#define GUARDED_BY(x) PENUMBRA_TSA(guarded_by(x))
#define REQUIRES(...) PENUMBRA_TSA(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) PENUMBRA_TSA(acquire_capability(__VA_ARGS__))
#define RELEASE(...) PENUMBRA_TSA(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS PENUMBRA_TSA(no_thread_safety_analysis)
#define EXCLUDES(...) PENUMBRA_TSA(locks_excluded(__VA_ARGS__))
