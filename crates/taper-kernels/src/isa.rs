//! The choice of an instruction set at run time.
//!
//! There is one source for all of them: plain loops, compiled once with AVX-512, once with AVX2 and FMA, and
//! once for what the target always has (SSE2 on x86-64, NEON on aarch64). [`dispatch!`] runs the best that the
//! processor has. `TAPER_SIMD=portable`, `avx2` or `avx512` caps the choice, to test one path on a processor
//! that has more; products of matrices choose for themselves in the `gemm` crate.

use std::sync::OnceLock;

/// What a loop has to know of the instruction set that it is compiled for.
pub trait Isa {
    /// Whether a product and a sum are one instruction. Where they are not, `mul_add` would be a slow call.
    const FMA: bool;
}

/// AVX2 or AVX-512, both with fused multiply-add.
pub(crate) struct Fused;

impl Isa for Fused {
    const FMA: bool = true;
}

/// What the target always has.
pub(crate) struct Baseline;

impl Isa for Baseline {
    const FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));
}

/// The instruction sets with a compiled path; each carries the proof that the processor has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InstructionSet {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    Baseline,
}

impl InstructionSet {
    /// The one that this process uses.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<InstructionSet> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::up_to(std::env::var("TAPER_SIMD").ok().as_deref()))
    }

    /// The best that the processor has and the cap allows; an unknown cap allows all.
    fn up_to(cap: Option<&str>) -> Self {
        #[cfg(target_arch = "x86_64")]
        if cap != Some("portable") {
            if cap != Some("avx2")
                && let Some(simd) = pulp::x86::V4::try_new()
            {
                return Self::Avx512(simd);
            }
            if let Some(simd) = pulp::x86::V3::try_new() {
                return Self::Avx2(simd);
            }
        }
        let _ = cap;
        Self::Baseline
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            Self::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Self::Baseline => "portable",
        }
    }
}

/// The name of the instruction set in use: `avx512`, `avx2`, `neon` or `portable`.
pub fn name() -> &'static str {
    InstructionSet::current().name()
}

/// Moved into the closure of [`dispatch!`], so that it can be called once only. The call of a closure that could
/// be called again goes through a function made by the compiler, which is not always inlined; then all of it would
/// be compiled for the baseline.
pub(crate) struct Once;

/// Evaluates an expression compiled for the instruction set in use, which it can name as a type:
/// `dispatch!(I => sum::<I, T>(x))`. What it calls must be `#[inline(always)]`, or it is compiled for the
/// baseline alone.
macro_rules! dispatch {
    ($isa:ident => $body:expr) => {
        match $crate::isa::InstructionSet::current() {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::InstructionSet::Avx512(simd) => {
                let once = $crate::isa::Once;
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let _ = { once };
                        type $isa = $crate::isa::Fused;
                        $body
                    },
                )
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::InstructionSet::Avx2(simd) => {
                let once = $crate::isa::Once;
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let _ = { once };
                        type $isa = $crate::isa::Fused;
                        $body
                    },
                )
            }
            $crate::isa::InstructionSet::Baseline => {
                type $isa = $crate::isa::Baseline;
                $body
            }
        }
    };
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_kept() {
        let portable = InstructionSet::up_to(Some("portable"));
        assert!(matches!(portable, InstructionSet::Baseline));
        assert!(["avx2", "neon", "portable"].contains(&InstructionSet::up_to(Some("avx2")).name()));
        assert_eq!(InstructionSet::up_to(None).name(), InstructionSet::up_to(Some("all")).name());
    }

    #[test]
    fn a_dispatched_loop_computes() {
        let x: Vec<f32> = (0..100).map(|at| at as f32).collect();
        let shifted = |x: &[f32]| -> f32 {
            dispatch!(I => x.iter().map(|x| crate::Element::fma::<I>(*x, 2.0, 1.0)).sum())
        };
        assert_eq!(shifted(&x), 2.0 * 4950.0 + 100.0);
    }
}
