use taper_data::{Card, ImageDataset, digits, digits_card};

#[test]
fn the_digits_are_what_their_card_says() {
    digits_card().unwrap().check("all", &digits().unwrap()).unwrap();
}

#[test]
fn says_what_differs() {
    let card = digits_card().unwrap();
    let digits = digits().unwrap();
    let changed = |images: Vec<u8>, shape, labels: Vec<u32>| {
        let dataset = ImageDataset::new(images, shape, 16, labels, 10).unwrap();
        card.check("all", &dataset).unwrap_err().to_string()
    };
    let (images, labels) = (digits.images().to_vec(), digits.labels().to_vec());

    let message = changed(images.clone(), [1, 4, 16], labels.clone());
    assert_eq!(message, "Card::check: shape of digits/all should be [1, 8, 8], got [1, 4, 16]");

    let message = changed(images[64..].to_vec(), [1, 8, 8], labels[1..].to_vec());
    assert_eq!(message, "Card::check: number of images of digits/all should be 1797, got 1796");

    let mut other = labels.clone();
    other[0] = 1;
    let message = changed(images.clone(), [1, 8, 8], other);
    assert!(message.contains("images per class of digits/all should be [178, 182,"), "{message}");

    // The same counts in another order: only the digest can tell.
    let mut other = labels.clone();
    other.swap(0, 1);
    let message = changed(images.clone(), [1, 8, 8], other);
    assert!(message.contains("content digest of digits/all should be a18a0fac"), "{message}");

    let mut other = images;
    other[5] ^= 1;
    assert!(changed(other, [1, 8, 8], labels).contains("content digest"));
}

#[test]
fn refuses_an_unknown_part_and_a_wrong_card() {
    let message = digits_card().unwrap().part("train").unwrap_err().to_string();
    assert_eq!(message, "Card::part: name should be one of [\"all\"], got train");
    let message = Card::parse("name = \"digits\"\ncolour = 3\n").unwrap_err().to_string();
    assert!(message.contains("line 2") && message.contains("colour"), "{message}");
}
