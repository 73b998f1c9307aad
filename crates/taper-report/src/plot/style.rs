//! Colours, as CSS variables that follow the reader's light or dark setting.
//!
//! The drawing library knows colours only as numbers. Each role has a number of its own, and
//! [`themed`] adds to each element the class of the role whose number it bears. The number stays as
//! the colour for programs that read no CSS.

use plotters::style::RGBColor;

/// What something is drawn in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ink {
    /// Text that names something.
    Text,
    /// Ticks, axes and reference lines.
    Muted,
    /// Grid lines.
    Grid,
    /// A stripe behind the marks.
    Stripe,
    /// The series with this number; from the eighth on they repeat.
    Series(usize),
}

/// Light and dark value of a role, and the dashes of its lines in tenths of a pixel.
struct Role {
    class: &'static str,
    light: RGBColor,
    dark: RGBColor,
    dashes: &'static str,
}

const fn role(class: &'static str, light: u32, dark: u32, dashes: &'static str) -> Role {
    Role { class, light: color(light), dark: color(dark), dashes }
}

const fn color(rgb: u32) -> RGBColor {
    RGBColor((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

/// The series are the colours of Okabe & Ito (2008), which people of any colour vision tell apart,
/// without the yellow, which is too pale for a line; lighter ones on dark ground.
const ROLES: [Role; 11] = [
    role("text", 0x1d_2126, 0xe4_e6e8, "none"),
    role("muted", 0x5b_636b, 0xa4_acb4, "none"),
    role("grid", 0xe3_e6e9, 0x2c_3238, "none"),
    role("stripe", 0xe0_ede8, 0x1d_3630, "none"),
    role("series-0", 0x00_72b2, 0x5a_b4f0, "none"),
    role("series-1", 0xd5_5e00, 0xf2_8c4a, "70 35"),
    role("series-2", 0x00_9e73, 0x37_cfa2, "20 30"),
    role("series-3", 0xcc_79a7, 0xe6_a3c8, "100 30 20 30"),
    role("series-4", 0xe6_9f00, 0xf3_be49, "130 40"),
    role("series-5", 0x56_b4e9, 0x9b_d6f8, "40 20"),
    role("series-6", 0x00_0001, 0xff_ffff, "70 25 20 25 20 25"),
];

const FIRST_SERIES: usize = 4;

impl Ink {
    pub(super) fn color(self) -> RGBColor {
        let index = match self {
            Self::Text => 0,
            Self::Muted => 1,
            Self::Grid => 2,
            Self::Stripe => 3,
            Self::Series(series) => FIRST_SERIES + series % (ROLES.len() - FIRST_SERIES),
        };
        ROLES[index].light
    }
}

fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// The drawing library's elements with the classes that [`stylesheet`] colours.
pub(super) fn themed(svg: &str) -> String {
    let mut themed = svg.to_owned();
    for role in &ROLES {
        let hex = hex(role.light);
        for property in ["fill", "stroke"] {
            let plain = format!(" {property}=\"{hex}\"");
            let classed = format!(" class=\"{property}-{}\"{plain}", role.class);
            themed = themed.replace(&plain, &classed);
        }
    }
    themed
}

/// The rules for every figure; a page needs them once.
pub(crate) fn stylesheet() -> String {
    let variables = |value: fn(&Role) -> RGBColor| -> String {
        let one = |role: &Role| format!("--plot-{}:{};", role.class, hex(value(role)));
        ROLES.iter().map(one).collect()
    };
    let rules = ROLES.iter().map(|Role { class, dashes, .. }| {
        format!(
            ".plot .fill-{class}{{fill:var(--plot-{class})}}\n\
             .plot .stroke-{class}{{stroke:var(--plot-{class});stroke-dasharray:{dashes}}}\n"
        )
    });
    format!(
        ".plot{{{light}}}\n\
         @media screen and (prefers-color-scheme:dark){{.plot{{{dark}}}}}\n\
         .plot text{{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}}\n\
         .plot polyline,.plot line{{stroke-linejoin:round}}\n{rules}",
        light = variables(|role| role.light),
        dark = variables(|role| role.dark),
        rules = rules.collect::<String>(),
    )
}

/// `svg` as a file of its own, with its style and its own ground: where it is shown, the page may be
/// light although the reader's setting is dark.
pub(crate) fn standalone(svg: &str) -> String {
    let style = format!(
        "<style>.plot{{background:#fff}}\n\
         @media screen and (prefers-color-scheme:dark){{.plot{{background:#14171a}}}}\n{}</style>",
        stylesheet()
    );
    svg.replacen("<desc>", &format!("{style}<desc>"), 1)
}
