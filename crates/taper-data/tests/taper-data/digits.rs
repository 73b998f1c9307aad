use serde_json::Value;
use taper_data::digits;

#[test]
fn digits_are_scikit_learns() {
    let golden: Value = serde_json::from_str(include_str!("../golden/digits.json")).unwrap();
    let golden = &golden["cases"][0];
    let numbers =
        |key: &str| -> Vec<usize> { serde_json::from_value(golden[key].clone()).unwrap() };
    let digits = digits().unwrap();
    assert_eq!(digits.content_digest(), golden["content_digest"]);
    assert_eq!(digits.class_counts(), numbers("per_class"));
    let mut sums = vec![0; 64];
    for image in digits.images().chunks_exact(64) {
        for (sum, value) in sums.iter_mut().zip(image) {
            *sum += usize::from(*value);
        }
    }
    assert_eq!(sums, numbers("pixel_sums"));
    let last: Vec<usize> = digits.images()[1796 * 64..].iter().map(|v| usize::from(*v)).collect();
    assert_eq!(last, numbers("last"));
    assert_eq!(digits.labels()[1796], golden["last_label"].as_u64().unwrap() as u32);
}

#[test]
fn every_call_shares_the_same_bytes() {
    let (first, second) = (digits().unwrap(), digits().unwrap());
    assert!(std::ptr::eq(first.images(), second.images()));
}
