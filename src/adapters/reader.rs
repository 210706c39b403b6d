//! One module off an adapter's file: its factors by role, checked against the layer. Formulas and
//! shapes: `docs/specs/adapter-formats.md`, E2 and E3.

use std::collections::BTreeMap;

use super::Part;
use super::base;
use super::module::{
    AdapterModule, HostFactors, HostKroneckerFactor, HostTensor, absorb_core, transposed,
};
use super::remedies::{BROKEN, OTHER_MODEL, UNSUPPORTED};
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::keys::adapter_names::Role;
use crate::weights::{Index, Source};

/// What a module is read from.
pub(super) struct Reader<'a> {
    pub index: &'a Index,
    pub source: &'a dyn Source,
    pub part: Part,
    pub path: &'a str,
    pub keys: &'a BTreeMap<Role, &'a str>,
    /// Of the layer's weight: `[out, in]` or `[out, in, kh, kw]`.
    pub shape: &'a [usize],
}

/// The family that a role belongs to; none where any may have it.
fn family(role: Role) -> Option<&'static str> {
    use Role::*;
    match role {
        Down | Mid | Up => Some("LoRA"),
        HadaW1A | HadaW1B | HadaW2A | HadaW2B | HadaT1 | HadaT2 => Some("LoHa"),
        LokrW1 | LokrW1A | LokrW1B | LokrW2 | LokrW2A | LokrW2B | LokrT2 => Some("LoKr"),
        DoraScale | MagnitudeVector | Alpha | Scale => None,
    }
}

/// What came of a module's tensors.
pub(super) enum Found {
    Module(Box<AdapterModule>),
    /// Nothing can be made of them: which kind isn't supported, if that is it, and why in words.
    LeftOut(Option<&'static str>, String),
}

impl Reader<'_> {
    /// Reads the module.
    ///
    /// # Errors
    /// Names the key: a factor missing, misshapen, not finite, or of two kinds at once.
    pub fn read(&self, settings: &Settings) -> Result<Found> {
        let families = || self.keys.keys().filter_map(|&role| Some((role, family(role)?)));
        let Some((_, first)) = families().next() else {
            return Ok(Found::LeftOut(None, "its layer has no factors in the file".into()));
        };
        if let Some((role, other)) = families().find(|(_, name)| *name != first) {
            let problem =
                format!("belongs to a {other}, where others of its layer belong to a {first}");
            return Err(self.error(role, problem, BROKEN));
        }
        let magnitude = [Role::DoraScale, Role::MagnitudeVector].into_iter().find(|r| self.has(*r));
        if magnitude.is_some() && first != "LoRA" {
            let reason =
                format!("belongs to a {first} with magnitudes (DoRA), which {UNSUPPORTED}");
            return Ok(Found::LeftOut(Some("LoHa or LoKr with magnitudes"), reason));
        }
        let (factors, rank) = match first {
            "LoHa" => self.loha()?,
            "LoKr" => self.lokr()?,
            _ => self.low_rank(magnitude)?,
        };
        let own_alpha = self.number(Role::Alpha)?;
        let alpha = own_alpha.or_else(|| settings.alpha(self.part, self.path));
        let scale = match (self.number(Role::Scale)?, alpha) {
            (Some(scale), _) => scale,
            // kohya: an alpha of 0 or none stands for the rank.
            (None, None | Some(0.0)) => 1.0,
            // LyCORIS: whole factors have no rank to divide by, whatever alpha says; PEFT divides by
            // the rank that its config names.
            (None, Some(alpha)) if rank == 0 => {
                let named = settings.rank(self.part, self.path).filter(|rank| *rank > 0.0);
                named.filter(|_| own_alpha.is_none()).map_or(1.0, |rank| alpha / rank)
            }
            (None, Some(alpha)) if settings.rank_stabilised(self.part) => {
                alpha / (rank as f32).sqrt()
            }
            (None, Some(alpha)) => alpha / rank as f32,
        };
        if !scale.is_finite() {
            let problem = "alpha and rank give its layer a scale that is no number".into();
            return Err(self.error(Role::Alpha, problem, BROKEN));
        }
        let (part, path) = (self.part, self.path.into());
        let module = AdapterModule { part, path, factors, scale, rank, alpha };
        Ok(Found::Module(Box::new(module)))
    }

    fn low_rank(&self, magnitude: Option<Role>) -> Result<(HostFactors, usize)> {
        let down = self.factor(Role::Down)?;
        let up = self.factor(Role::Up)?;
        let mid = self.has(Role::Mid).then(|| self.factor(Role::Mid)).transpose()?;
        let rank = down.shape[0];
        let (mut down, mid, up) = self.fit(down, mid, up, rank)?;
        let Some(role) = magnitude else {
            return Ok((HostFactors::LowRank { down, mid, up }, rank));
        };
        let magnitude = self.magnitude(role)?;
        if let Some(mid) = mid {
            down = absorb_core(&mid, &down);
            down.shape = [&[rank, self.shape[1]], &self.shape[2..]].concat();
        }
        Ok((HostFactors::DoRA { down, up, magnitude }, rank))
    }

    /// Gives the factors the shapes that the layer wants: a 1x1 convolution's and a linear layer's
    /// differ by trailing ones.
    fn fit(
        &self,
        mut down: HostTensor,
        mut mid: Option<HostTensor>,
        mut up: HostTensor,
        rank: usize,
    ) -> Result<(HostTensor, Option<HostTensor>, HostTensor)> {
        let squeeze = |shape: &[usize], length: usize| -> Vec<usize> {
            let mut shape = shape.to_vec();
            while shape.len() > length && shape.last() == Some(&1) {
                shape.pop();
            }
            shape.resize(length.max(shape.len()), 1);
            shape
        };
        let length = self.shape.len();
        down.shape = squeeze(&down.shape, length);
        up.shape = squeeze(&up.shape, length);
        let (output, input, kernel) = (self.shape[0], self.shape[1], &self.shape[2..]);
        let ones = vec![1; kernel.len()];
        let down_kernel = if mid.is_some() { &ones } else { kernel };
        // Kernels as matrices: the same numbers, row by row.
        unflatten(&mut down, &[&[rank, input], down_kernel].concat());
        if let Some(mid) = &mut mid {
            unflatten(mid, &[&[rank, rank], kernel].concat());
        }
        self.expect(Role::Down, &down, &[&[rank, input], down_kernel].concat())?;
        self.expect(Role::Up, &up, &[&[output, rank], &ones[..]].concat())?;
        if let Some(mid) = &mid {
            self.expect_core(Role::Mid, mid, rank)?;
        }
        Ok((down, mid, up))
    }

    /// Tucker form: cores `[r, r, kh, kw]`, `w*_a [r, out]`, `w*_b [r, in]`.
    fn loha(&self) -> Result<(HostFactors, usize)> {
        let tucker = self.has(Role::HadaT1) || self.has(Role::HadaT2);
        let product = |a: Role, b: Role, core: Role, rank: Option<usize>| {
            let (left, right) = (self.factor(a)?, self.factor(b)?);
            let rank = rank.unwrap_or(right.shape[0]);
            let (output, input) = (self.shape[0], self.shape[1]);
            if tucker {
                let core_tensor = self.factor(core)?;
                self.expect_core(core, &core_tensor, rank)?;
                let left = self.matrix(a, left, [rank, output])?;
                let right = self.matrix(b, right, [rank, input])?;
                return Ok((transposed(&left), absorb_core(&core_tensor, &right)));
            }
            let left = self.matrix(a, left, [output, rank])?;
            let right = self.matrix(b, right, [rank, self.shape[1..].iter().product()])?;
            Ok::<_, Error>((left, right))
        };
        let (w1_a, w1_b) = product(Role::HadaW1A, Role::HadaW1B, Role::HadaT1, None)?;
        let rank = w1_b.shape[0];
        let (w2_a, w2_b) = product(Role::HadaW2A, Role::HadaW2B, Role::HadaT2, Some(rank))?;
        Ok((HostFactors::LoHa { w1_a, w1_b, w2_a, w2_b }, rank))
    }

    /// Tucker form of the second factor: core `[r, r, kh, kw]`, `w2_a [r, b]`, `w2_b [r, d]`.
    fn lokr(&self) -> Result<(HostFactors, usize)> {
        use HostKroneckerFactor::{Full, Product};
        let twice = |whole: Role, a: Role, b: Role| {
            let half = [a, b].into_iter().find(|role| self.has(*role) && self.has(whole));
            half.map_or(Ok(()), |half| {
                let problem = format!("stands beside the whole {}", whole.label());
                Err(self.error(half, problem, BROKEN))
            })
        };
        twice(Role::LokrW1, Role::LokrW1A, Role::LokrW1B)?;
        twice(Role::LokrW2, Role::LokrW2A, Role::LokrW2B)?;
        // Of a decomposed factor either half may be what is missing.
        let product = |a: Role, b: Role| {
            let (left, right) = (self.factor(a)?.flattened(), self.factor(b)?.flattened());
            let rank = right.shape[0];
            Ok::<_, Error>((self.matrix(a, left.clone(), [left.shape[0], rank])?, right))
        };
        let w1 = if self.has(Role::LokrW1A) || self.has(Role::LokrW1B) {
            let (a, b) = product(Role::LokrW1A, Role::LokrW1B)?;
            Product(a, b)
        } else {
            Full(self.factor(Role::LokrW1)?.flattened())
        };
        let kernel = &self.shape[2..];
        let (w2, key) = if self.has(Role::LokrT2) {
            let (a, b) = (self.factor(Role::LokrW2A)?, self.factor(Role::LokrW2B)?.flattened());
            let (rank, core) = (b.shape[0], self.factor(Role::LokrT2)?);
            self.expect_core(Role::LokrT2, &core, rank)?;
            let columns = a.columns();
            let a = transposed(&self.matrix(Role::LokrW2A, a, [rank, columns])?);
            (Product(a, absorb_core(&core, &b)), Role::LokrW2B)
        } else if self.has(Role::LokrW2A) || self.has(Role::LokrW2B) {
            let (a, b) = product(Role::LokrW2A, Role::LokrW2B)?;
            (Product(a, b), Role::LokrW2B)
        } else {
            (Full(self.factor(Role::LokrW2)?), Role::LokrW2)
        };

        let ([a, c], [b, columns]) = (w1.size(), w2.size());
        let fits = a.checked_mul(b) == Some(self.shape[0])
            && c.checked_mul(columns) == Some(self.shape[1..].iter().product())
            && self.shape[1].is_multiple_of(c);
        let own_kernel = match &w2 {
            Full(whole) if whole.shape.len() > 2 => &whole.shape[2..],
            _ => kernel,
        };
        let same_kernel = own_kernel == kernel || own_kernel.iter().chain(kernel).all(|&k| k == 1);
        if !fits || !same_kernel {
            let problem = format!(
                "makes a {b} x {columns} matrix, whose Kronecker product with the first factor's \
                 {a} x {c} isn't the layer's {:?}",
                self.shape
            );
            return Err(self.error(key, problem, OTHER_MODEL));
        }
        let w2 = match w2 {
            // fits: c divides the inputs.
            Full(HostTensor { data, .. }) => {
                Full(HostTensor { shape: [&[b, self.shape[1] / c], kernel].concat(), data })
            }
            product => product,
        };
        let rank = w2.rank().or(w1.rank()).unwrap_or(0);
        Ok((HostFactors::LoKr { w1, w2 }, rank))
    }

    /// DoRA's magnitudes, `[out, 1]` or `[1, in]`. PEFT writes `[out]`, of a convolution
    /// `[1, out, 1, 1]`; LyCORIS `[out, 1, ..]`, or `[1, in, ..]` without its `wd_on_out`.
    fn magnitude(&self, role: Role) -> Result<HostTensor> {
        if let (Role::DoraScale, Some(again)) = (role, self.keys.get(&Role::MagnitudeVector)) {
            let problem = format!("names the same factor as {again}");
            return Err(self.error(role, problem, BROKEN));
        }
        let HostTensor { shape, data } = self.tensor(role, 1)?;
        let (output, input) = (self.shape[0], self.shape[1]);
        // Where the one dimension stands that isn't 1; a lone number may stand anywhere.
        let wide: Vec<usize> = (0..shape.len()).filter(|&at| shape[at] != 1).collect();
        let at = match wide[..] {
            [] => Some(usize::from(output != 1)),
            [at] => Some(at),
            _ => None,
        };
        let shape_of = |rows: bool| if rows { vec![output, 1] } else { vec![1, input] };
        let rows = match (role, at) {
            (Role::MagnitudeVector, Some(_)) if data.len() == output => Some(true),
            (Role::DoraScale, Some(0)) if data.len() == output => Some(true),
            (Role::DoraScale, Some(0)) if shape.len() == 1 && data.len() == input => Some(false),
            (Role::DoraScale, Some(1)) if data.len() == input => Some(false),
            _ => None,
        };
        let Some(rows) = rows else {
            let wanted = match role {
                Role::MagnitudeVector => format!("[{output}]"),
                _ => format!("[{output}, 1] or [1, {input}]"),
            };
            let problem = format!("has the shape {shape:?} where the layer needs {wanted}");
            return Err(self.error(role, problem, OTHER_MODEL));
        };
        Ok(HostTensor { shape: shape_of(rows), data })
    }

    fn has(&self, role: Role) -> bool {
        self.keys.contains_key(&role)
    }

    /// A core `[r, r, kh, kw]` for the layer's kernel.
    fn expect_core(&self, role: Role, core: &HostTensor, rank: usize) -> Result<()> {
        let kernel = &self.shape[2..];
        if kernel.is_empty() {
            let problem = "is the core of a convolution, but the layer is linear".into();
            return Err(self.error(role, problem, OTHER_MODEL));
        }
        self.expect(role, core, &[&[rank, rank], kernel].concat())
    }

    /// The tensor as a matrix of this size; a 1x1 kernel's trailing ones may be there or not.
    fn matrix(&self, role: Role, tensor: HostTensor, size: [usize; 2]) -> Result<HostTensor> {
        if [tensor.shape[0], tensor.columns()] != size {
            return Err(self.misfit(role, &tensor.shape, &size));
        }
        Ok(HostTensor { shape: size.to_vec(), data: tensor.data })
    }

    fn expect(&self, role: Role, tensor: &HostTensor, wanted: &[usize]) -> Result<()> {
        if tensor.shape == wanted { Ok(()) } else { Err(self.misfit(role, &tensor.shape, wanted)) }
    }

    fn misfit(&self, role: Role, found: &[usize], wanted: &[usize]) -> Error {
        let cross = self.path.ends_with("attn2.to_k") || self.path.ends_with("attn2.to_v");
        let input = [Role::Down, Role::HadaW1B, Role::HadaW2B].contains(&role);
        if input && cross && found.len() == wanted.len() && found[1] != wanted[1] {
            let name = |width| base::of_width(width).unwrap_or("a model of its own kind");
            let problem = format!(
                "reads text embeddings {} wide ({}), the loaded model's are {} wide ({})",
                found[1],
                name(found[1]),
                wanted[1],
                name(wanted[1])
            );
            return self.error(role, problem, OTHER_MODEL);
        }
        let made = base::words(self.index);
        let problem = format!("has the shape {found:?} where the layer needs {wanted:?}{made}");
        self.error(role, problem, OTHER_MODEL)
    }

    /// A matrix or kernel.
    fn factor(&self, role: Role) -> Result<HostTensor> {
        self.tensor(role, 2)
    }

    /// A tensor of floats with at least this many dimensions.
    fn tensor(&self, role: Role, least: usize) -> Result<HostTensor> {
        let Some(&key) = self.keys.get(&role) else {
            let partner = self.keys.values().next().copied().unwrap_or(self.path);
            let problem = format!("has no {} factor beside it", role.label());
            return Err(Error::key(&self.index.file, partner, problem, BROKEN));
        };
        let info = self.index.info(key)?;
        if !info.dtype.is_float() {
            let problem = format!("is of type {}, not a float", info.dtype.name());
            return Err(self.error(role, problem, BROKEN));
        }
        if !(least..=4).contains(&info.shape.len()) {
            let problem = format!("has the shape {:?}, not that of a matrix or kernel", info.shape);
            return Err(self.error(role, problem, BROKEN));
        }
        if info.shape.contains(&0) {
            let problem = match info.shape[0] {
                0 => "has rank 0".into(),
                _ => format!("has the shape {:?}, that of nothing", info.shape),
            };
            return Err(self.error(role, problem, BROKEN));
        }
        let data = self.index.read_f32(self.source, key)?;
        if data.iter().any(|value| !value.is_finite()) {
            return Err(self.error(role, "holds NaN or infinity".into(), BROKEN));
        }
        Ok(HostTensor { shape: info.shape.clone(), data })
    }

    fn number(&self, role: Role) -> Result<Option<f32>> {
        let Some(key) = self.keys.get(&role) else { return Ok(None) };
        let values = self.index.read_f32(self.source, key)?;
        match values[..] {
            [value] if value.is_finite() => Ok(Some(value)),
            [_] => Err(self.error(role, "is NaN or infinity".into(), BROKEN)),
            _ => Err(self.error(role, format!("has {} numbers, not one", values.len()), BROKEN)),
        }
    }

    fn error(&self, role: Role, problem: String, remedy: &str) -> Error {
        let key = self.keys.get(&role).copied().unwrap_or(self.path);
        Error::key(&self.index.file, key, problem, remedy)
    }
}

/// Gives a matrix the shape of a kernel of as many rows and columns.
fn unflatten(tensor: &mut HostTensor, shape: &[usize]) {
    let columns: usize = shape[1..].iter().product();
    let flat = tensor.shape.iter().skip(2).all(|&size| size == 1);
    if flat && tensor.shape[0] == shape[0] && tensor.columns() == columns {
        tensor.shape = shape.to_vec();
    }
}
