//! A map of the world whose countries are coloured by a share.

use crate::report::markup::escape;
use crate::report::svg::shapes::document;
use crate::report::world;

/// Classes of the scale, ten points each; the style sheet has a colour for each.
pub const CLASSES: usize = 10;

/// Radius of the dot of a country that is too small to be seen.
const DOT: f64 = 11.0;

/// A country with a share.
#[derive(Debug, Clone, PartialEq)]
pub struct Coloured {
    /// Its place among [`world::countries`].
    pub country: usize,
    /// The share, in 0..=1.
    pub share: f64,
    /// Whether there are too few answers for a figure, so that it is faint with a dashed outline.
    pub is_small: bool,
    /// Shown where the pointer rests: country, value, n.
    pub title: String,
}

/// A map.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldMap {
    /// What it shows, read out by a screen reader.
    pub title: String,
    /// What the colours stand for, such as `their share, 0 to 100 %`.
    pub scale: String,
    /// The countries that have a share.
    pub countries: Vec<Coloured>,
    /// What the ids of the shapes begin with; maps of one page with the same `shapes` share them.
    pub shapes: String,
    /// Whether this drawing holds the shapes: the first of those that share them.
    pub holds_shapes: bool,
}

/// The class of a share: 0 for 0 to 10 %, 9 for 90 to 100 %.
pub fn class_of(share: f64) -> usize {
    ((CLASSES as f64 * share) as usize).min(CLASSES - 1)
}

/// A patch of the scale in a box of 14 by 14, for the key.
pub fn patch(class: &str) -> String {
    format!("<rect x=\"1.5\" y=\"1.5\" width=\"11\" height=\"11\" class=\"patch {class}\"/>")
}

impl WorldMap {
    /// The drawing; none without a country.
    pub fn draw(&self) -> Option<String> {
        if self.countries.is_empty() {
            return None;
        }
        let [left, top, width, height] = world::BOX;
        let mut body = String::new();
        if self.holds_shapes {
            body += &format!("<defs>{}</defs>\n", self.shapes());
        }
        body += &format!("<g transform=\"translate({:.0} {:.0})\">\n", -left, -top);
        body += &format!("<use href=\"#{}\" class=\"land\"/>\n", self.shapes);
        let (small, large): (Vec<_>, Vec<_>) = self.countries.iter().partition(|one| one.is_small);
        large.into_iter().chain(small).for_each(|one| body += &self.country(one));
        body += "</g>\n";
        let description = format!(
            "{} countries coloured by {}. The table has the numbers",
            self.countries.len(),
            self.scale
        );
        Some(document(width, height, &self.title, &description, &body))
    }

    /// Every country's outline, together with the id that the land has.
    fn shapes(&self) -> String {
        let id = &self.shapes;
        let outline = |country: &world::Country| {
            format!("<path id=\"{id}{}\" d=\"{}\"/>\n", country.place, country.path)
        };
        let outlines = world::countries().iter().filter(|country| !country.path.is_empty());
        format!("<g id=\"{id}\">\n{}</g>", outlines.map(outline).collect::<String>())
    }

    fn country(&self, one: &Coloured) -> String {
        let Some(country) = world::countries().get(one.country) else { return String::new() };
        let small = if one.is_small { " small" } else { "" };
        let class = format!("country scale{}{small}", class_of(one.share));
        let mut drawn = format!("<g class=\"{class}\"><title>{}</title>", escape(&one.title));
        if !country.path.is_empty() {
            drawn += &format!("<use href=\"#{}{}\"/>", self.shapes, country.place);
        }
        if let Some([x, y]) = country.dot {
            drawn += &format!("<circle cx=\"{x:.0}\" cy=\"{y:.0}\" r=\"{DOT}\"/>");
        }
        drawn + "</g>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coloured(name: &str, share: f64, is_small: bool) -> Coloured {
        let country = world::find(name).unwrap().place;
        Coloured { country, share, is_small, title: format!("{name} & n") }
    }

    #[test]
    fn a_share_has_its_class_and_a_small_country_a_dot() {
        assert_eq!([0.0, 0.0999, 0.1, 0.899, 0.9, 1.0].map(class_of), [0, 0, 1, 8, 9, 9]);
        let countries = vec![coloured("Tonga", 1.0, true), coloured("Brazil", 0.056, false)];
        let (shapes, scale) = ("paa-land".to_owned(), "their share, 0 to 100 %".to_owned());
        let map = WorldMap { title: "PAA".into(), scale, countries, shapes, holds_shapes: true };
        let svg = map.draw().unwrap();
        assert_eq!(
            svg.matches("<path id=").count(),
            world::countries().iter().filter(|c| !c.path.is_empty()).count()
        );
        let brazil = world::find("Brazil").unwrap().place;
        for part in [
            &format!(
                "<g class=\"country scale0\"><title>Brazil &amp; n</title><use href=\"#paa-land{brazil}\"/></g>"
            ),
            "<g class=\"country scale9 small\"><title>Tonga &amp; n</title><circle ",
        ] {
            assert!(svg.contains(part), "`{part}` is not in the map");
        }
        let second = WorldMap { holds_shapes: false, ..map }.draw().unwrap();
        assert!(second.len() < 2_000 && !second.contains("<defs>"), "{second}");
    }
}
