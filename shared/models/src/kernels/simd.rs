//! The vector instructions that the kernels are written in, chosen once when the program runs.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::sync::OnceLock;

/// Vectors of f32. A kernel is written once over this trait and compiled for each set of
/// instructions by `dispatch`.
///
/// Safety, for every function: the processor has the instructions, and a pointer is good for
/// `LANES` values.
pub(super) trait Simd {
    type V: Copy;
    const LANES: usize;
    /// Rows of one tile of a matrix product: as many as leave room in the registers for two
    /// columns of vectors and the operands.
    const ROWS: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, x: Self::V);
    /// `a·b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
}

/// Something to do with whatever vectors there are.
pub(super) trait Kernel {
    fn run<S: Simd>(self);
}

/// A pointer into a result that tasks share, because each writes a part of its own.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub(super) *mut f32);

// SAFETY: see `Shared`.
unsafe impl Send for Shared {}
// SAFETY: the same.
unsafe impl Sync for Shared {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Instructions {
    /// The best of this processor.
    pub(super) fn detect() -> Self {
        static FOUND: OnceLock<Instructions> = OnceLock::new();
        *FOUND.get_or_init(|| Self::available().first().copied().unwrap_or(Self::Portable))
    }

    /// Those of this processor, the best first.
    pub(super) fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut found = vec![Self::Portable];
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.insert(0, Self::Avx2);
            }
            let avx512 =
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
            if avx512 && found.contains(&Self::Avx2) {
                found.insert(0, Self::Avx512);
            }
            found
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }

    /// Columns of one tile of a matrix product.
    pub(super) fn columns(self) -> usize {
        2 * match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::LANES,
            Self::Portable => Portable::LANES,
        }
    }

    pub(super) fn dispatch(self, kernel: impl Kernel) {
        match self {
            // SAFETY: `available` has seen the processor have them.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512(kernel) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2(kernel) },
            Self::Portable => kernel.run::<Portable>(),
        }
    }
}

// A kernel is inlined here, and with it everything that it calls: that is what compiles plain
// loops for these instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
fn avx512(kernel: impl Kernel) {
    kernel.run::<Avx512>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(kernel: impl Kernel) {
    kernel.run::<Avx2>();
}

#[cfg(target_arch = "x86_64")]
pub(super) struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const ROWS: usize = 14;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: as this function is called, the processor has the instruction.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: as this function is called, there is room for all lanes, and the instruction.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m512) {
        // SAFETY: as this function is called, there is room for all lanes, and the instruction.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as this function is called, the processor has the instruction.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: as this function is called, the processor has the instruction.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: as this function is called, there is room for all lanes, and the instruction.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m256) {
        // SAFETY: as this function is called, there is room for all lanes, and the instruction.
        unsafe { _mm256_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: as this function is called, the processor has the instruction.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
}

/// Arrays that the compiler turns into whatever the target has: NEON, SSE2.
pub(super) struct Portable;

impl Simd for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: as this function is called, there is room for all lanes; no alignment is needed.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 4]) {
        // SAFETY: as this function is called, there is room for all lanes; no alignment is needed.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // `mul_add` is one instruction on ARM and a call into the C library on an x86 this old.
        std::array::from_fn(|i| {
            if cfg!(target_arch = "aarch64") {
                a[i].mul_add(b[i], c[i])
            } else {
                a[i] * b[i] + c[i]
            }
        })
    }
}
