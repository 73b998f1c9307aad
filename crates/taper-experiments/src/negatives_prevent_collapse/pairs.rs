//! Pairs of images of one class, a pair a class at a time.

use candle_core::Tensor;
use taper_core::{Error, Result, Snapshot, Stateful, Stream};

/// Draws, for every class, two of its images: the others of the draw are negatives without a doubt.
pub(super) struct Pairs {
    images: Tensor,
    /// The rows of each class.
    of_class: Vec<Vec<u32>>,
    stream: Stream,
}

/// One pair a class, row by row: images (classes, features).
pub(super) struct Drawn {
    pub(super) first: Tensor,
    pub(super) second: Tensor,
    /// How many rows further on, around the end, the negative of a first image is among the second ones.
    pub(super) further: usize,
}

impl Pairs {
    /// Of images (N, features) and their labels (N).
    pub(super) fn new(
        (images, labels): (Tensor, Tensor),
        classes: usize,
        stream: Stream,
    ) -> Result<Self> {
        let mut of_class = vec![Vec::new(); classes];
        for (row, label) in labels.to_vec1::<u32>()?.into_iter().enumerate() {
            of_class[label as usize].push(row as u32);
        }
        let fewest = of_class.iter().map(Vec::len).min().unwrap_or(0);
        if classes < 2 || fewest < 2 {
            let expected = "at least two classes, and at least two images of each";
            let received = format!("{classes} classes, one with {fewest} images");
            return Err(Error::argument("Pairs::new", "labels", expected, received));
        }
        Ok(Self { images, of_class, stream })
    }

    pub(super) fn draw(&mut self) -> Result<Drawn> {
        let classes = self.of_class.len();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for rows in &self.of_class {
            let one = self.stream.below(rows.len() as u64) as usize;
            let further = 1 + self.stream.below(rows.len() as u64 - 1) as usize;
            first.push(rows[one]);
            second.push(rows[(one + further) % rows.len()]);
        }
        let further = 1 + self.stream.below(classes as u64 - 1) as usize;
        Ok(Drawn { first: self.chosen(first)?, second: self.chosen(second)?, further })
    }

    /// The images of these rows, one a class.
    fn chosen(&self, rows: Vec<u32>) -> Result<Tensor> {
        let rows = Tensor::from_vec(rows, self.of_class.len(), self.images.device())?;
        Ok(self.images.index_select(&rows, 0)?)
    }
}

impl Stateful for Pairs {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("stream", &self.stream)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.get("stream", &mut self.stream)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_pair_is_two_images_of_one_class() {
        // The image of a row is its number, its class the number's last digit in base 3.
        let images = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((12, 1)).unwrap();
        let labels: Vec<u32> = (0..12).map(|row| row % 3).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        let mut pairs = Pairs::new((images, labels), 3, taper_core::stream(1, "pairs")).unwrap();
        for _ in 0..50 {
            let drawn = pairs.draw().unwrap();
            let row = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (first, second) = (row(&drawn.first), row(&drawn.second));
            assert!((1..3).contains(&drawn.further));
            for class in 0..3 {
                assert_eq!(first[class] % 3.0, class as f32);
                assert_eq!(second[class] % 3.0, class as f32);
                assert_ne!(first[class], second[class]);
            }
        }
    }
}
