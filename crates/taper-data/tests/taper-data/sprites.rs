use std::collections::BTreeSet;
use std::f64::consts::{PI, TAU};

use taper_core::{Result, stream};
use taper_data::Sprites;

/// One upright shape of scale 1 in the middle of 512 x 512 pixels.
const FINE: Sprites = Sprites { side: 512, shapes: 3, scales: 1, orientations: 1, xs: 1, ys: 1 };

fn area(image: &[u8]) -> usize {
    assert!(image.iter().all(|pixel| [0, 255].contains(pixel)));
    image.iter().filter(|pixel| **pixel == 255).count()
}

/// The rows and columns from the first to past the last that is not all black.
fn bounds(image: &[u8], side: usize) -> [std::ops::Range<usize>; 2] {
    let white: Vec<_> = (0..side * side).filter(|at| image[*at] > 0).collect();
    let range = |of: &dyn Fn(usize) -> usize| {
        let places = || white.iter().map(|at| of(*at));
        places().min().unwrap()..places().max().unwrap() + 1
    };
    [range(&|at| at / side), range(&|at| at % side)]
}

/// The center of mass, down and right, in pixels.
fn center(image: &[u8], side: usize) -> [f64; 2] {
    let white = || (0..side * side).filter(|at| image[*at] > 0);
    let mean = |of: &dyn Fn(usize) -> usize| {
        white().map(|at| of(at) as f64 + 0.5).sum::<f64>() / white().count() as f64
    };
    [mean(&|at| at / side), mean(&|at| at % side)]
}

#[test]
fn areas_and_lengths_are_those_of_the_shapes() -> Result<()> {
    // By hand: a quarter of the side, from 24 to 40 of 64; at half the scale from 28 to 36.
    let small = Sprites { side: 64, scales: 2, ..FINE };
    let [large, half] = [small.image([0, 1, 0, 0, 0])?, small.image([0; 5])?];
    assert_eq!((area(&large), area(&half)), (256, 64));
    assert_eq!((bounds(&large, 64), bounds(&half, 64)), ([24..40, 24..40], [28..36, 28..36]));

    let ellipse = FINE.image([1, 0, 0, 0, 0])?;
    assert_eq!(bounds(&ellipse, 512), [256 - 48..256 + 48, 256 - 96..256 + 96]);
    let expected = PI * 96.0 * 48.0;
    assert!((area(&ellipse) as f64 / expected - 1.0).abs() < 0.002, "{}", area(&ellipse));

    // A square of side 96 and two halves of a disc whose diameter that is.
    let heart = FINE.image([2, 0, 0, 0, 0])?;
    // Turned, since of an upright one whole rows of pixels lie along the lower edges, all inside or all outside.
    let turned = Sprites { orientations: 9, ..FINE }.image([2, 0, 1, 0, 0])?;
    let expected = 96.0 * 96.0 * (1.0 + PI / 4.0);
    assert!((area(&turned) as f64 / expected - 1.0).abs() < 0.002, "{}", area(&turned));
    // Half the diagonal below the square's middle and the quarter and the radius above; a quarter and the radius aside.
    let [rows, columns] = bounds(&heart, 512);
    let (half, quarter) = (96.0 / 2f64.sqrt(), 48.0 / 2f64.sqrt());
    assert!((rows.len() as f64 - (half + quarter + 48.0)).abs() < 2.0, "{rows:?}");
    assert!((columns.len() as f64 - 2.0 * (quarter + 48.0)).abs() < 2.0, "{columns:?}");
    for range in [rows.clone(), columns] {
        assert!((range.start + range.end).abs_diff(512) <= 2, "{range:?}");
    }
    // It has its tip below: there its rows are narrow.
    let width = |row: usize| heart[row * 512..][..512].iter().filter(|pixel| **pixel > 0).count();
    assert!(width(rows.end - 5) < 12 && width(rows.start + 5) > 30);
    Ok(())
}

#[test]
fn shapes_are_symmetric() -> Result<()> {
    let turned = Sprites { side: 61, orientations: 24, ..FINE };
    let image = |shape, orientation| turned.image([shape, 0, orientation, 0, 0]);
    for at in 0..24 {
        assert_eq!(image(0, at)?, image(0, (at + 6) % 24)?, "a quarter of a turn");
        assert_eq!(image(1, at)?, image(1, (at + 12) % 24)?, "half a turn");
        // Half a turn is the image read backwards.
        let mut back = image(2, at)?;
        back.reverse();
        assert_eq!(back, image(2, (at + 12) % 24)?);
    }
    // But not by less, and a heart by no turn.
    let different = |shape, count| -> Result<usize> {
        Ok((0..count).map(|at| image(shape, at)).collect::<Result<BTreeSet<_>>>()?.len())
    };
    assert_eq!((different(0, 24)?, different(1, 24)?, different(2, 24)?), (6, 12, 24));
    for shape in 0..3 {
        let upright = image(shape, 0)?;
        let mirrored: Vec<u8> =
            upright.chunks(61).flat_map(|row| row.iter().rev()).copied().collect();
        assert_eq!(upright, mirrored);
    }
    Ok(())
}

#[test]
fn a_turn_goes_from_the_right_downwards() -> Result<()> {
    let turned = Sprites { orientations: 8, ..FINE };
    // The long axis of the ellipse, an eighth turned, goes from the upper left to the lower right.
    let ellipse = turned.image([1, 0, 1, 0, 0])?;
    let white = |row: usize, column: usize| ellipse[row * 512 + column] == 255;
    assert!(white(256 + 60, 256 + 60) && white(256 - 60, 256 - 60));
    assert!(!white(256 - 60, 256 + 60) && !white(256 + 60, 256 - 60));
    // The heart's tip points down, and a quarter later to the left.
    let [upright, quarter] = [turned.image([2, 0, 0, 0, 0])?, turned.image([2, 0, 2, 0, 0])?];
    let [down, right] = center(&upright, 512);
    assert!(down < 255.0 && (right - 256.0).abs() < 0.1, "{down} {right}");
    let [down, right] = center(&quarter, 512);
    assert!(right > 257.0 && (down - 256.0).abs() < 0.5, "{down} {right}");
    Ok(())
}

#[test]
fn each_factor_moves_what_it_says_and_nothing_else() -> Result<()> {
    // Places from 12 to 52 of 64, 8 apart.
    let sprites = Sprites { side: 64, shapes: 3, scales: 3, orientations: 5, xs: 6, ys: 6 };
    for shape in 0..3 {
        for scale in 0..3 {
            for orientation in 0..5 {
                let factors = |x, y| [shape, scale, orientation, x, y];
                let first = sprites.image(factors(0, 0))?;
                let [rows, columns] = bounds(&first, 64);
                for (x, y) in [(1, 0), (0, 1), (3, 2), (5, 5)] {
                    let moved = sprites.image(factors(x, y))?;
                    // The same pixels, so many to the right and down, and none is lost.
                    assert_eq!(area(&moved), area(&first));
                    for row in rows.clone() {
                        let from = &first[row * 64 + columns.start..][..columns.len()];
                        let to = &moved[(row + 8 * y) * 64 + columns.start + 8 * x..];
                        assert_eq!(from, &to[..columns.len()]);
                    }
                }
                // A turn keeps the area and the place.
                let turned = sprites.image([shape, scale, (orientation + 1) % 5, 2, 3])?;
                let kept = sprites.image(factors(2, 3))?;
                let ratio = area(&turned) as f64 / area(&kept) as f64;
                assert!((ratio - 1.0).abs() < 0.12, "{shape} {scale} {orientation}: {ratio}");
                assert_ne!(turned, kept);
                let away = center(&turned, 64).into_iter().zip([36.0, 28.0]);
                // The heart's weight is above its middle, by 0.15 of the 12 pixels of its square.
                let most = [0.5, 0.5, 2.0][shape];
                assert!(away.map(|(at, middle)| (at - middle).abs()).all(|away| away < most));
            }
        }
        // The area grows with the square of the scale: from 0.5 by 0.75 to 1.
        let areas = (0..3).map(|scale| Ok(area(&sprites.image([shape, scale, 0, 2, 2])?) as f64));
        let areas = areas.collect::<Result<Vec<_>>>()?;
        assert!((areas[2] / areas[0] - 4.0).abs() < 0.5, "{areas:?}");
        assert!((areas[1] / areas[0] - 2.25).abs() < 0.4, "{areas:?}");
    }
    Ok(())
}

#[test]
fn no_sprite_is_cut_off() -> Result<()> {
    let sprites = Sprites { side: 512, orientations: 16, xs: 2, ys: 2, ..FINE };
    let grid = sprites.grid()?;
    for (image, factors) in grid.images.images().chunks(512 * 512).zip(&grid.factors) {
        // Within 3/16 of the side of its middle, and at no edge but by that.
        let [y, x] = [factors[4], factors[3]].map(|at| if at == 0 { 96.0 } else { 416.0 });
        let mut most: f64 = 0.0;
        for at in (0..512 * 512).filter(|at| image[*at] > 0) {
            let (row, column) = ((at / 512) as f64 + 0.5, (at % 512) as f64 + 0.5);
            most = most.max((row - y).hypot(column - x));
        }
        assert!(most <= 96.0 && most > 85.0, "{factors:?}: {most}");
    }
    Ok(())
}

#[test]
fn values_are_those_of_the_factors() -> Result<()> {
    let sprites = Sprites { side: 64, shapes: 3, scales: 6, orientations: 40, xs: 32, ys: 32 };
    assert_eq!(sprites.values([0; 5])?, [0.0, 0.5, 0.0, 0.1875, 0.1875]);
    assert_eq!(sprites.values([2, 5, 10, 31, 31])?, [2.0, 1.0, TAU / 4.0, 0.8125, 0.8125]);
    let values = sprites.values([1, 2, 39, 0, 31])?;
    assert!((values[1] - 0.7).abs() < 1e-15 && (values[2] - TAU * 39.0 / 40.0).abs() < 1e-15);
    assert_eq!(FINE.values([1, 0, 0, 0, 0])?, [1.0, 1.0, 0.0, 0.5, 0.5]);
    Ok(())
}

#[test]
fn a_grid_has_every_combination_once_and_tells_it() -> Result<()> {
    let sprites = Sprites { side: 16, shapes: 3, scales: 2, orientations: 3, xs: 4, ys: 5 };
    let grid = sprites.grid()?;
    assert_eq!((grid.images.len(), grid.images.shape()), (360, [1, 16, 16]));
    assert_eq!(grid.images.class_counts(), [120; 3]);
    assert!(grid.factors.is_sorted());
    assert_eq!(grid.factors.iter().collect::<BTreeSet<_>>().len(), 360);
    assert_eq!((grid.factors[1], grid.factors[359]), ([0, 0, 0, 0, 1], [2, 1, 2, 3, 4]));
    for (at, factors) in grid.factors.iter().enumerate() {
        assert_eq!(grid.images.images()[at * 256..][..256], sprites.image(*factors)?);
        assert_eq!(grid.images.labels()[at] as usize, factors[0]);
    }
    let two = Sprites { shapes: 2, ..sprites }.grid()?;
    assert_eq!(two.images.classes(), 2);
    assert_eq!(two.images.images(), &grid.images.images()[..240 * 256]);
    Ok(())
}

#[test]
fn draws_are_even_and_the_streams() -> Result<()> {
    let sprites = Sprites { side: 8, ..Default::default() };
    let drawn = sprites.draw(2000, &mut stream(3, "sprites"))?;
    assert_eq!(drawn, sprites.draw(2000, &mut stream(3, "sprites"))?);
    assert_ne!(drawn, sprites.draw(2000, &mut stream(4, "sprites"))?);
    for (factor, count) in sprites.counts().into_iter().enumerate() {
        let mut counts = vec![0.0; count];
        drawn.factors.iter().for_each(|factors| counts[factors[factor]] += 1.0);
        let mean = 2000.0 / count as f64;
        assert!(counts.iter().all(|n| (n - mean).abs() < 5.0 * mean.sqrt()), "{counts:?}");
    }
    for (at, factors) in drawn.factors.iter().enumerate().step_by(97) {
        assert_eq!(drawn.images.images()[at * 64..][..64], sprites.image(*factors)?);
        assert_eq!(drawn.images.labels()[at] as usize, factors[0]);
    }
    Ok(())
}

#[test]
fn refuses_what_it_cannot_make() {
    let plain = Sprites::default();
    let huge = Sprites { scales: usize::MAX, xs: 3, ..plain };
    // dSprites' own counts, whose images of 64 x 64 are 3 GB: of 128 x 128 they are 12.
    let wide = Sprites { side: 128, shapes: 3, scales: 6, orientations: 40, xs: 32, ys: 32 };
    let mut stream = stream(1, "sprites");
    for (message, expected) in [
        (
            Sprites { side: 7, ..plain }.grid(),
            "Sprites::grid: side should be from 8 to 65536, got 7",
        ),
        (Sprites { side: 65537, ..plain }.grid(), "side should be from 8 to 65536, got 65537"),
        (Sprites { shapes: 4, ..plain }.grid(), "shapes should be from 1 to 3, got 4"),
        (Sprites { xs: 0, ..plain }.grid(), "xs should be at least 1, got 0"),
        (
            huge.grid(),
            "counts should be of at most 4194304 images, which are 4 GiB, got more than can be counted",
        ),
        (wide.grid(), "counts should be of at most 262144 images, which are 4 GiB, got 737280"),
        (plain.draw(0, &mut stream), "Sprites::draw: n should be at least 1, got 0"),
        (
            plain.draw(4194305, &mut stream),
            "n should be of at most 4194304 images, which are 4 GiB, got 4194305",
        ),
        (plain.draw(usize::MAX, &mut stream), "n should be of at most 4194304 images"),
    ] {
        let message = message.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    for message in
        [plain.image([0, 0, 8, 0, 0]).unwrap_err(), plain.values([0, 0, 8, 0, 0]).unwrap_err()]
    {
        let expected = "factors should be below [3, 3, 8, 8, 8], the counts, got [0, 0, 8, 0, 0]";
        assert!(message.to_string().contains(expected), "{message}");
    }
    // One image needs no grid that fits.
    assert!(huge.image([2, usize::MAX - 1, 7, 2, 7]).is_ok());
}
