//! Normalization written down as it is defined, in f64, element by element.

/// A normalization of any kind: which values share their statistics, and which their w and b.
pub(super) struct Oracle {
    /// For each element, the group whose statistics it has.
    pub(super) group: Vec<usize>,
    /// For each element, the place of its w and b.
    pub(super) parameter: Vec<usize>,
    /// Whether the mean is subtracted.
    pub(super) centred: bool,
    /// What is subtracted from the number of values to give the divisor of the variance.
    pub(super) missing: f64,
    pub(super) eps: f64,
    pub(super) rectify: bool,
    /// Mean and variance of each group, where they are not those of the values.
    pub(super) given: Option<Vec<(f64, f64)>>,
}

/// y and the gradients.
#[derive(Debug, Clone)]
pub(super) struct Results {
    pub(super) y: Vec<f64>,
    pub(super) x: Vec<f64>,
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
    pub(super) residual: Vec<f64>,
}

impl Oracle {
    /// Mean, sum of squared distances, and number of values of each group.
    pub(super) fn moments(&self, x: &[f64]) -> Vec<[f64; 3]> {
        let groups = self.group.iter().max().map_or(0, |last| last + 1);
        let mut moments = vec![[0.0; 3]; groups];
        for (x, group) in x.iter().zip(&self.group) {
            moments[*group][0] += x;
            moments[*group][2] += 1.0;
        }
        for [mean, _, count] in &mut moments {
            *mean = if self.centred { *mean / *count } else { 0.0 };
        }
        for (x, group) in x.iter().zip(&self.group) {
            moments[*group][1] += (x - moments[*group][0]).powi(2);
        }
        moments
    }

    pub(super) fn run(
        &self,
        x: &[f64],
        weight: &[f64],
        bias: &[f64],
        residual: &[f64],
        upstream: &[f64],
    ) -> Results {
        let moments = self.moments(x);
        let of = |group: usize| match &self.given {
            Some(given) => (given[group].0, (given[group].1 + self.eps).sqrt().recip()),
            None => {
                let [mean, squares, count] = moments[group];
                (mean, (squares / (count - self.missing) + self.eps).sqrt().recip())
            }
        };
        let normal: Vec<f64> =
            x.iter().zip(&self.group).map(|(x, group)| (x - of(*group).0) * of(*group).1).collect();
        let y: Vec<f64> = (0..x.len())
            .map(|at| {
                let parameter = self.parameter[at];
                let y = normal[at] * weight[parameter] + bias[parameter] + residual[at];
                if self.rectify && y <= 0.0 { 0.0 } else { y }
            })
            .collect();
        let g: Vec<f64> = (0..x.len())
            .map(|at| if self.rectify && y[at] <= 0.0 { 0.0 } else { upstream[at] })
            .collect();
        let (mut of_weight, mut of_bias) = (vec![0.0; weight.len()], vec![0.0; bias.len()]);
        let mut sums = vec![[0.0; 2]; moments.len()];
        for at in 0..x.len() {
            of_weight[self.parameter[at]] += g[at] * normal[at];
            of_bias[self.parameter[at]] += g[at];
            let inner = g[at] * weight[self.parameter[at]];
            sums[self.group[at]][0] += inner;
            sums[self.group[at]][1] += inner * normal[at];
        }
        let of_x = (0..x.len()).map(|at| {
            let group = self.group[at];
            let inner = g[at] * weight[self.parameter[at]];
            let [_, _, count] = moments[group];
            let through_mean = if self.centred { sums[group][0] / count } else { 0.0 };
            let through_variance = normal[at] * sums[group][1] / (count - self.missing);
            let through = if self.given.is_some() { 0.0 } else { through_mean + through_variance };
            of(group).1 * (inner - through)
        });
        let of_x = of_x.collect();
        Results { y, x: of_x, weight: of_weight, bias: of_bias, residual: g }
    }
}
