use taper_data::{Card, ImageDataset, card, cards, digits};

#[test]
fn the_digits_are_what_their_card_says() {
    card("digits").unwrap().check("all", &digits().unwrap()).unwrap();
}

#[test]
fn says_what_differs() {
    let card = card("digits").unwrap();
    let digits = digits().unwrap();
    let changed = |images: Vec<u8>, shape, labels: Vec<u32>| {
        let dataset = ImageDataset::new(images, shape, 16, labels, 10).unwrap();
        card.check("all", &dataset).unwrap_err().to_string()
    };
    let (images, labels) = (digits.images().to_vec(), digits.labels().to_vec());

    let message = changed(images.clone(), [1, 4, 16], labels.clone());
    assert_eq!(message, "Card::check: shape of digits/all should be [1, 8, 8], got [1, 4, 16]");

    // To count them would take 32 GiB.
    let classes = ImageDataset::new(images.clone(), [1, 8, 8], 16, labels.clone(), u32::MAX);
    let message = card.check("all", &classes.unwrap()).unwrap_err().to_string();
    assert!(message.contains("number of classes of digits/all should be 10, got 4294967295"));

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
    let message = card("digits").unwrap().part("train").unwrap_err().to_string();
    assert_eq!(message, "Card::part: name should be one of [\"all\"], got train");
    let message = Card::parse("name = \"digits\"\ncolour = 3\n").unwrap_err().to_string();
    assert!(message.contains("line 2") && message.contains("colour"), "{message}");
}

#[test]
fn every_card_fits_together() {
    for card in cards().unwrap() {
        let name = &card.name;
        assert!(!card.citation.is_empty() && !card.licence.is_empty(), "{name}");
        for part in &card.parts {
            assert_eq!(part.per_class.len(), card.classes.len(), "{name}");
            assert_eq!(part.per_class.iter().sum::<usize>(), part.images, "{name}");
            if card.hub.is_some() {
                assert!(
                    card.files.iter().any(|file| file.part.as_ref() == Some(&part.name)),
                    "{name}"
                );
            }
            for sum in &part.original_md5 {
                assert!(
                    sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()),
                    "{name}"
                );
            }
        }
        for sum in card.files.iter().filter_map(|file| file.sha256.as_ref()) {
            assert!(sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        }
        if card.hub.is_some() {
            assert!(card.revision.len() == 40, "{name}");
            assert!(card.files.iter().all(|file| file.part.is_some()), "{name}");
        }
    }
    let message = card("mnst").unwrap_err().to_string();
    assert!(message.contains("one of digits, mnist, fashion-mnist"), "{message}");
}
