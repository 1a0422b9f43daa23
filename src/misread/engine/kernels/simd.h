// Vectors of VL floats, in the widest form that this build's processor has, and bf16 numbers.
//
// The vectors are the compiler's own (GCC and Clang), so that arithmetic is written with operators on every processor.
// Intrinsics appear only where the compiler has no operator, and only in this file.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__SSE__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX__)
#define VL 8
#else
#define VL 4  // SSE, NEON, or whatever the compiler makes of it
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
#define REGISTERS 32  // vectors that the processor holds at once
#else
#define REGISTERS 16
#endif
#if defined(__AVX512BF16__)
#define HAS_BF16 1
#else
#define HAS_BF16 0
#endif
#define INLINE static inline __attribute__((always_inline))
#define INLINE_METHOD inline __attribute__((always_inline))
#define UNROLL(i, n) _Pragma("GCC unroll 64") for (int i = 0; i < (n); i++)

typedef float V __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef int32_t VI __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef uint8_t VB __attribute__((vector_size(VL), aligned(1), may_alias));
typedef uint16_t Half;  // a bf16: the upper half of a float's bits
typedef uint32_t Pair;  // two of them, the first in the lower half

INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

INLINE V load(const float *p) { return *(const V *)p; }
INLINE V load(const Pair *p) { return *(const V *)p; }
INLINE void store(float *p, V x) { *(V *)p = x; }
INLINE void store(Pair *p, V x) { *(V *)p = x; }
INLINE V splat(float x) { return x - V{}; }

// The first n of VL floats, n < VL, and zeros after them. Nothing behind them is read or written.
#if VL == 16
INLINE V load_first(const float *p, int64_t n) { return (V)_mm512_maskz_loadu_ps((1 << n) - 1, p); }
INLINE void store_first(float *p, V x, int64_t n) { _mm512_mask_storeu_ps(p, (1 << n) - 1, (__m512)x); }
#elif VL == 8
static const int32_t SIGNS[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
INLINE __m256i first_lanes(int64_t n) { return _mm256_loadu_si256((const __m256i *)(SIGNS + 8 - n)); }
INLINE V load_first(const float *p, int64_t n) { return (V)_mm256_maskload_ps(p, first_lanes(n)); }
INLINE void store_first(float *p, V x, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), (__m256)x); }
#else
INLINE V load_first(const float *p, int64_t n) {
    V x = {};
    for (int64_t i = 0; i < n; i++) x[i] = p[i];
    return x;
}
INLINE void store_first(float *p, V x, int64_t n) {
    for (int64_t i = 0; i < n; i++) p[i] = x[i];
}
#endif

// The first n of VL floats, or all of them if n is larger.
INLINE V load_up_to(const float *p, int64_t n) { return n < VL ? load_first(p, n) : load(p); }
INLINE void store_up_to(float *p, V x, int64_t n) {
    if (n < VL) store_first(p, x, n);
    else store(p, x);
}

INLINE VB load_up_to(const uint8_t *p, int64_t n) {
    VB x = {};
    if (n < VL) memcpy(&x, p, n);
    else x = *(const VB *)p;
    return x;
}
INLINE void store_up_to(uint8_t *p, VB x, int64_t n) {
    if (n < VL) memcpy(p, &x, n);
    else *(VB *)p = x;
}

// work(i, m) for m = VL floats from i on, or fewer at the end of all n
template <class Work> INLINE void for_vectors(int64_t n, Work work) {
    int64_t i = 0;
    for (; i + VL <= n; i += VL) work(i, VL);
    if (i < n) work(i, n - i);
}

INLINE V square_root(V x) {
#if VL == 16
    return (V)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);  // all lanes; GCC 12 warns of the form without a mask
#elif VL == 8
    return (V)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE__)
    return (V)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
    return (V)vsqrtq_f32((float32x4_t)x);
#else
    V y;
    UNROLL(i, VL) y[i] = __builtin_sqrtf(x[i]);
    return y;
#endif
}

// 1 / x, to the last place of a float or the one before it. AVX-512 estimates and takes one step of Newton's method:
// the divider stays free for `square_root`.
INLINE V reciprocal(V x) {
#if VL == 16
    V y = (V)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
    return y * (2 - x * y);
#else
    return 1 / x;
#endif
}

// ReLU. NaN stays NaN, as in PyTorch; otherwise a diverged training would look healthy.
INLINE V rectified(V x) { return x < 0 ? V{} : x; }

#if VL == 8 && defined(__AVX2__)
// For each set of lanes of a vector, as bits, these lanes in order; then lane 0.
struct Lanes {
    uint8_t of[256][8] = {};
    constexpr Lanes() {
        for (int set = 0; set < 256; set++)
            for (int lane = 0, n = 0; lane < 8; lane++)
                if (set >> lane & 1) of[set][n++] = lane;
    }
};
static constexpr Lanes LANES;
#endif

// Numbers from 0 to 255 as bytes, and back. GCC would convert them one by one.
#if VL == 8 && defined(__AVX2__)
INLINE VB to_bytes(VI x) {
    __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    return (VB)_mm_cvtsi128_si64(_mm_packus_epi16(halves, halves));
}
INLINE VI from_bytes(VB x) { return (VI)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)x)); }
#else
INLINE VB to_bytes(VI x) { return __builtin_convertvector(x, VB); }
INLINE VI from_bytes(VB x) { return __builtin_convertvector(x, VI); }
#endif

// Append those of the VL values from `x` that are not zero, and their positions from `first` on. Returns how many.
// Writes up to VL entries.
INLINE int append_nonzero(const float *x, int32_t first, float *value, int32_t *at) {
#if VL == 16
    const __m512i steps = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512 y = _mm512_loadu_ps(x);
    __mmask16 on = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    _mm512_storeu_ps(value, _mm512_maskz_compress_ps(on, y));
    _mm512_storeu_si512(at, _mm512_maskz_compress_epi32(on, _mm512_add_epi32(_mm512_set1_epi32(first), steps)));
    return __builtin_popcount(on);
#elif VL == 8 && defined(__AVX2__)
    __m256 y = _mm256_loadu_ps(x);
    int on = _mm256_movemask_ps(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_NEQ_UQ));
    __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)LANES.of[on]));
    _mm256_storeu_ps(value, _mm256_permutevar8x32_ps(y, lanes));
    _mm256_storeu_si256((__m256i *)at, _mm256_add_epi32(_mm256_set1_epi32(first), lanes));
    return __builtin_popcount(on);
#else
    int n = 0;
    for (int i = 0; i < VL; i++) {
        at[n] = first + i;
        value[n] = x[i];
        n += x[i] != 0;
    }
    return n;
#endif
}

// Round to the nearest bf16, ties to even. NaN stays NaN.
INLINE Half to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return x != x ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// Products of bf16 numbers. A vector of V's size holds VL pairs; `pair_product` adds both products of each pair, and
// `join_pairs` makes the pairs (x[i], y[i]). Without the instructions an engine is never mixed, and these are never
// called.
#if HAS_BF16
INLINE V pair_product(V sum, V x, V y) { return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y); }
INLINE void store_half(Half *p, V x) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x)); }
INLINE V splat(Pair x) { return (V)_mm512_set1_epi32(x); }
INLINE V join_pairs(V x, V y) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (V)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x));
}
#else
INLINE V pair_product(V sum, V, V) { return sum; }
INLINE void store_half(Half *, V) {}
INLINE V splat(Pair) { return V{}; }
INLINE V join_pairs(V, V) { return V{}; }
#endif

INLINE V splat_pair(const Half *p) {
    Pair pair;
    memcpy(&pair, p, sizeof pair);
    return splat(pair);
}

// sum + x * y, of floats or of pairs
INLINE V add_product(V sum, float x, V y) { return sum + splat(x) * y; }
INLINE V add_product(V sum, Pair x, V y) { return pair_product(sum, splat(x), y); }

// While one of these lives, this thread takes numbers too small for a float's full precision as zero. On x86 such a
// number costs a hundred times a normal one.
struct FlushTiny {
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    FlushTiny() { _mm_setcsr(before | 0x8040); }
    ~FlushTiny() { _mm_setcsr(before); }
#elif defined(__aarch64__)
    uint64_t before;
    FlushTiny() {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));
        __asm__ volatile("msr fpcr, %0" ::"r"(before | 1u << 24));
    }
    ~FlushTiny() { __asm__ volatile("msr fpcr, %0" ::"r"(before)); }
#endif
};
