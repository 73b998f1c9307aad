//! The card of a data set, which is then held against the digits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::{Card, digits};

fuzz_target!(|text: &str| {
    if let Ok(card) = Card::parse(text) {
        let digits = digits().expect("the embedded digits");
        for part in &card.parts {
            assert_eq!(card.part(&part.name).map(|found| &found.name).ok(), Some(&part.name));
            let _ = card.check(&part.name, &digits);
        }
    }
});
