// What candle's own kernels call beyond cuda_on_cpu.h: the toolkit's half precision, which has a meaning on the CPU, and a few functions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <math.h>
#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __launch_bounds__
#undef __restrict__
#undef __shared__
#include "../kernels/cuda_on_cpu.h"
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#ifndef CUDA_ON_CPU_LIST

// One thread runs at a time.
template <class T, class U> T atomicAdd(T *p, U x) {
    const T old = *p;
    return *p = T(old + T(x)), old;
}
template <class T, class U> T atomicMin(T *p, U x) {
    const T old = *p;
    return *p = T(x) < old ? T(x) : old, old;
}
template <class T, class U> T atomicMax(T *p, U x) {
    const T old = *p;
    return *p = old < T(x) ? T(x) : old, old;
}
template <class T, class U, class V> T atomicCAS(T *p, U was, V x) {
    const T old = *p;
    return *p = old == T(was) ? T(x) : old, old;
}
template <class To, class From> To same_bits(From x) {
    To y;
    static_assert(sizeof x == sizeof y, "the bits of one are those of the other");
    return memcpy(&y, &x, sizeof y), y;
}
inline int __float_as_int(float x) { return same_bits<int>(x); }
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
inline double normcdf(double x) { return 0.5 * erfc(-x / sqrt(2.0)); }
inline float normcdff(float x) { return (float)normcdf(x); }
#define OF_HALF(f)                                                           \
    inline __half h##f(__half x) { return __half(::f(float(x))); }           \
    inline __nv_bfloat16 h##f(__nv_bfloat16 x) { return __nv_bfloat16(::f(float(x))); }
OF_HALF(sqrt) OF_HALF(cos) OF_HALF(sin) OF_HALF(log) OF_HALF(exp)
#endif
