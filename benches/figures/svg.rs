//! What all plots have in common: SVG without a background, so that it is read on a light page and on a dark one.

use std::fmt::Write as _;

/// The colours of what is neither bar nor line of a series, by class.
const STYLE: &str = "text{fill:#222}.quiet{fill:#666}.axis{stroke:#222}.grid{stroke:#ddd}\
                     @media(prefers-color-scheme:dark){text{fill:#ddd}.quiet{fill:#aaa}.axis{stroke:#ddd}.grid{stroke:#444}}";

/// A plot of so many pixels; readers of screens are told its title.
pub fn document((width, height): (f64, f64), font_size: u8, title: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"sans-serif\" \
         font-size=\"{font_size}\">\n<title>{}</title>\n<style>{STYLE}</style>\n{body}</svg>\n",
        escaped(title)
    )
}

/// Words at a place; `anchor` is `start`, `middle` or `end`.
pub fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words));
}

/// Words that matter less, in a smaller font.
pub fn note(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let (words, place) = (escaped(words), format!("x=\"{x:.1}\" y=\"{y:.1}\""));
    let _ = writeln!(svg, "<text {place} text-anchor=\"{anchor}\" class=\"quiet\" font-size=\"10\">{words}</text>");
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_do_not_become_elements() {
        let mut svg = String::new();
        text(&mut svg, (0.0, 0.0), "start", "a < b & c");
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(document((1.0, 1.0), 11, "1 < 2", "").contains("<title>1 &lt; 2</title>"));
    }
}
