use taper_core::Result;
use taper_core::testing::goldens;
use taper_losses::{SquaredHingeOptions, squared_hinge};

use crate::contract::{Subject, beside, normal};
use crate::golden;
use crate::hinge::signs;

pub(crate) fn subjects() -> Vec<Subject> {
    let target = signs("target");
    vec![Subject {
        name: "squared_hinge",
        argument: "input",
        input: normal("input"),
        axes: 2,
        by_row: true,
        unbounded: true,
        loss: Box::new(move |x, options| {
            let options = SquaredHingeOptions { margin: 0.7, loss: options.clone() };
            squared_hinge(x, &beside(&target, x)?, &options)
        }),
    }]
}

#[test]
fn agrees_with_keras() -> Result<()> {
    for case in goldens(include_str!("../golden/squared_hinge.json"))? {
        golden::check(&case, "input", |input, dtype| {
            let loss = golden::options(&case, dtype)?;
            let options = SquaredHingeOptions { margin: case.f64("margin")?, loss };
            squared_hinge(input, &case.tensor("target", dtype)?, &options)
        })?;
    }
    Ok(())
}
