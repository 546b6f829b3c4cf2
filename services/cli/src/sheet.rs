//! A contact sheet: one row per search, what was asked on the left and the results after it, closest
//! first. Draws only; where the pictures come from is the caller's.

use image::{Rgb, RgbImage, imageops};
use weimocir_lettering::Letters;

#[derive(Debug)]
pub(crate) struct Row {
    /// Absent in a search by text alone: the modifier takes its place.
    pub reference: Option<RgbImage>,
    pub modifier: Option<String>,
    pub results: Vec<Tile>,
}

#[derive(Debug)]
pub(crate) struct Tile {
    pub picture: RgbImage,
    /// Its rank, and what else is to be said of it in a word.
    pub heading: String,
    pub similarity: Option<f32>,
    /// May be empty.
    pub caption: String,
    /// Whether it is what was looked for, as far as that is known.
    pub wanted: bool,
}

/// Side of the square that a picture is fitted into, in pixels.
const CELL: u32 = 192;
const MARGIN: u32 = 28;
const GAP: u32 = 16;
/// Between the reference and the first result; holds the arrow.
const ARROW: u32 = 60;
const UNDER_PICTURE: u32 = 8;
const BETWEEN_ROWS: u32 = 28;
const CORNER: f32 = 6.0;

const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
const PANEL: Rgb<u8> = Rgb([243, 244, 246]);
const RULE: Rgb<u8> = Rgb([229, 231, 235]);
const INK: Rgb<u8> = Rgb([31, 41, 55]);
const FAINT: Rgb<u8> = Rgb([107, 114, 128]);
const ACCENT: Rgb<u8> = Rgb([29, 78, 216]);
const WANTED: Rgb<u8> = Rgb([21, 128, 61]);
/// Of the frame around what was looked for.
const FRAME: u32 = 4;

const MODIFIER: Style = Style { size: 15.0, leading: 19, lines: 4, colour: INK };
const ALONE: Style = Style { size: 18.0, leading: 24, lines: 7, colour: INK };
const HEADING: Style = Style { size: 14.0, leading: 20, lines: 1, colour: FAINT };
const CAPTION: Style = Style { size: 13.0, leading: 17, lines: 3, colour: FAINT };
const POINTER: Style = Style { size: 34.0, leading: 34, lines: 1, colour: FAINT };

/// Draws the searches below each other. No rows give a blank margin, never an empty picture.
pub(crate) fn draw(rows: &[Row]) -> RgbImage {
    let most = rows.iter().map(|row| row.results.len()).max().unwrap_or(0) as u32;
    let results = if most == 0 { 0 } else { ARROW + most * (CELL + GAP) - GAP };
    let width = MARGIN * 2 + CELL + results;
    let heights: Vec<u32> = rows.iter().map(height).collect();
    let between = BETWEEN_ROWS * (rows.len() as u32).saturating_sub(1);
    let height = MARGIN * 2 + heights.iter().sum::<u32>() + between;

    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    let mut y = MARGIN;
    for (n, (row, height)) in rows.iter().zip(heights).enumerate() {
        if n > 0 {
            let middle = y - BETWEEN_ROWS / 2;
            (MARGIN..width - MARGIN).for_each(|x| sheet.put_pixel(x, middle, RULE));
        }
        draw_row(&mut sheet, row, y);
        y += height + BETWEEN_ROWS;
    }
    sheet
}

/// As high as the longest text under a picture of this row needs.
fn height(row: &Row) -> u32 {
    let asked = row.reference.as_ref().and(row.modifier.as_deref());
    let asked = asked.map_or(0, |modifier| MODIFIER.height(&quoted(modifier), CELL));
    let found =
        row.results.iter().map(|tile| HEADING.leading + CAPTION.height(&tile.caption, CELL));
    let text = found.fold(asked, u32::max);
    CELL + if text == 0 { 0 } else { UNDER_PICTURE + text }
}

fn draw_row(sheet: &mut RgbImage, row: &Row, y: u32) {
    let asked = Area { x: MARGIN, y, width: CELL, height: CELL };
    fill(sheet, asked, PANEL);
    let modifier = row.modifier.as_deref().map(quoted).unwrap_or_default();
    match &row.reference {
        Some(reference) => {
            draw_picture(sheet, asked, reference);
            MODIFIER.write(
                sheet,
                asked.below(MODIFIER.height(&modifier, CELL)),
                &modifier,
                Align::Left,
            );
        }
        None => {
            let width = CELL - GAP * 2;
            let band = asked.middle(ALONE.height(&modifier, width));
            let inside = Area { x: asked.x + GAP, width, ..band };
            ALONE.write(sheet, inside, &modifier, Align::Centre);
        }
    }
    if !row.results.is_empty() {
        let gap = Area { x: MARGIN + CELL, width: ARROW, ..asked };
        POINTER.write(sheet, gap.middle(POINTER.leading), "→", Align::Centre);
    }
    for (n, tile) in (0..).zip(&row.results) {
        let x = MARGIN + CELL + ARROW + n * (CELL + GAP);
        draw_tile(sheet, Area { x, ..asked }, tile);
    }
}

fn draw_tile(sheet: &mut RgbImage, cell: Area, tile: &Tile) {
    fill(sheet, cell, PANEL);
    draw_picture(sheet, cell, &tile.picture);
    let heading = cell.below(HEADING.leading);
    let rank = Style { colour: if tile.wanted { WANTED } else { FAINT }, ..HEADING };
    rank.write(sheet, heading, &tile.heading, Align::Left);
    if tile.wanted {
        frame(sheet, cell, WANTED);
    }
    if let Some(similarity) = tile.similarity {
        let style = Style { colour: ACCENT, ..HEADING };
        style.write(sheet, heading, &format!("{similarity:.3}"), Align::Right);
    }
    let under =
        Area { y: heading.y + heading.height, height: CAPTION.height(&tile.caption, CELL), ..cell };
    CAPTION.write(sheet, under, &tile.caption, Align::Left);
}

fn quoted(modifier: &str) -> String {
    format!("“{}”", modifier.trim())
}

#[derive(Debug, Clone, Copy)]
struct Area {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Area {
    fn below(self, height: u32) -> Self {
        Self { y: self.y + self.height + UNDER_PICTURE, height, ..self }
    }

    /// The band of this height in the middle.
    fn middle(self, height: u32) -> Self {
        Self { y: self.y + self.height.saturating_sub(height) / 2, height, ..self }
    }

    fn pixels(self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.height).flat_map(move |y| (0..self.width).map(move |x| (x, y)))
    }

    /// How much of a pixel, counted from the area's corner, lies within its rounded corners: 0 to 1.
    fn coverage(self, x: u32, y: u32) -> f32 {
        let beyond = |at: u32, side: u32| {
            let centre = at as f32 + 0.5;
            (CORNER - centre).max(centre - (side as f32 - CORNER)).max(0.0)
        };
        let distance = beyond(x, self.width).hypot(beyond(y, self.height));
        (CORNER - distance + 0.5).clamp(0.0, 1.0)
    }
}

fn blend(sheet: &mut RgbImage, x: u32, y: u32, colour: Rgb<u8>, coverage: f32) {
    let Some(below) = sheet.get_pixel_mut_checked(x, y) else { return };
    let mix = |under: u8, over: u8| {
        (f32::from(under) + (f32::from(over) - f32::from(under)) * coverage).round() as u8
    };
    *below = Rgb(std::array::from_fn(|i| mix(below.0[i], colour.0[i])));
}

fn fill(sheet: &mut RgbImage, area: Area, colour: Rgb<u8>) {
    for (x, y) in area.pixels() {
        blend(sheet, area.x + x, area.y + y, colour, area.coverage(x, y));
    }
}

fn frame(sheet: &mut RgbImage, area: Area, colour: Rgb<u8>) {
    let inside = |at: u32, side: u32| (FRAME..side - FRAME).contains(&at);
    let (width, height) = (area.width, area.height);
    for (x, y) in area.pixels().filter(|&(x, y)| !inside(x, width) || !inside(y, height)) {
        blend(sheet, area.x + x, area.y + y, colour, area.coverage(x, y));
    }
}

/// Fits the picture into the cell, its sides in proportion, within the cell's rounded corners.
fn draw_picture(sheet: &mut RgbImage, cell: Area, picture: &RgbImage) {
    let longest = picture.width().max(picture.height());
    if picture.width().min(picture.height()) == 0 {
        return;
    }
    let fitted = |side: u32| {
        let exact = u64::from(side) * u64::from(CELL) / u64::from(longest);
        u32::try_from(exact).unwrap_or(CELL).clamp(1, CELL)
    };
    let (width, height) = (fitted(picture.width()), fitted(picture.height()));
    let picture = imageops::resize(picture, width, height, imageops::FilterType::CatmullRom);
    let (left, top) = ((CELL - width) / 2, (CELL - height) / 2);
    for (x, y, &colour) in picture.enumerate_pixels() {
        let (x, y) = (left + x, top + y);
        blend(sheet, cell.x + x, cell.y + y, colour, cell.coverage(x, y));
    }
}

#[derive(Debug, Clone, Copy)]
enum Align {
    Left,
    Centre,
    Right,
}

#[derive(Debug, Clone, Copy)]
struct Style {
    /// In pixels.
    size: f32,
    /// From one line to the next, in pixels.
    leading: u32,
    /// Text that needs more ends in an ellipsis.
    lines: usize,
    colour: Rgb<u8>,
}

impl Style {
    fn letters(self) -> Letters {
        Letters::of_height(self.size)
    }

    /// Of a text in a column of this width.
    fn height(self, text: &str, width: u32) -> u32 {
        self.wrap(text, width as f32).len() as u32 * self.leading
    }

    fn width(self, text: &str) -> f32 {
        self.letters().width(text)
    }

    /// Writes the text from the area's top, in lines of its width. Nothing is drawn outside of it.
    fn write(self, sheet: &mut RgbImage, area: Area, text: &str, align: Align) {
        let letters = self.letters();
        let lead = (self.leading as f32 - letters.height()) / 2.0 + letters.ascent();
        for (n, line) in self.wrap(text, area.width as f32).iter().enumerate() {
            let free = area.width as f32 - self.width(line);
            let start = match align {
                Align::Left => 0.0,
                Align::Centre => free / 2.0,
                Align::Right => free,
            };
            let baseline = (n as u32 * self.leading) as f32 + lead;
            self.write_line(sheet, area, line, (start, baseline.round()));
        }
    }

    fn write_line(self, sheet: &mut RgbImage, area: Area, line: &str, start: (f32, f32)) {
        self.letters().draw(line, start, |x, y, coverage| {
            let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
            if x < area.width && y < area.height {
                blend(sheet, area.x + x, area.y + y, self.colour, coverage);
            }
        });
    }

    /// Lines no wider than `width`, broken between words, or within one that fills a line alone.
    fn wrap(self, text: &str, width: f32) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let longer = lines.last().map(|line| format!("{line} {word}"));
            match (longer, lines.last_mut()) {
                (Some(longer), Some(last)) if self.width(&longer) <= width => *last = longer,
                _ => lines.extend(self.split(word, width)),
            }
            if lines.len() > self.lines {
                lines.truncate(self.lines);
                let last = lines.pop();
                lines.extend(last.map(|last| self.shorten(last, width)));
                break;
            }
        }
        lines
    }

    fn split(self, word: &str, width: f32) -> Vec<String> {
        let mut pieces = vec![String::new()];
        for letter in word.chars() {
            let last = pieces.last().map_or("", |piece| piece.as_str());
            let longer = format!("{last}{letter}");
            let fits = last.is_empty() || self.width(&longer) <= width;
            if fits {
                pieces.pop();
                pieces.push(longer);
            } else {
                // because: no more is shown, and a word without end would be measured without end
                if pieces.len() > self.lines {
                    break;
                }
                pieces.push(letter.to_string());
            }
        }
        pieces
    }

    fn shorten(self, mut line: String, width: f32) -> String {
        loop {
            let shortened = format!("{}…", line.trim_end_matches([' ', ',', '.', ';']));
            if self.width(&shortened) <= width || line.pop().is_none() {
                return shortened;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Rgb<u8> = Rgb([200, 0, 0]);

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, RED)
    }

    fn tile(caption: &str) -> Tile {
        let (heading, similarity) = ("1".into(), Some(0.5));
        Tile {
            picture: picture(40, 30),
            heading,
            similarity,
            caption: caption.into(),
            wanted: false,
        }
    }

    fn row(modifier: &str, captions: &[&str]) -> Row {
        Row {
            reference: Some(picture(30, 40)),
            modifier: Some(modifier.into()),
            results: captions.iter().map(|caption| tile(caption)).collect(),
        }
    }

    /// Columns of pixels below the pictures of a sheet of one row that are not paper.
    fn written_columns(sheet: &RgbImage) -> Vec<u32> {
        let below = MARGIN + CELL..sheet.height();
        let written = |x: &u32| below.clone().any(|y| *sheet.get_pixel(*x, y) != PAPER);
        (0..sheet.width()).filter(written).collect()
    }

    const LONG: &str = "a very long caption about two dogs that run over a wet meadow behind a fence \
        while somebody in a red raincoat looks on and a third dog sleeps beside the gate";

    #[test]
    fn the_sheet_grows_with_rows_and_results() {
        let one = draw(&[row("x", &["a", "b"])]);
        let two = draw(&[row("x", &["a", "b"]), row("x", &["a"])]);
        assert_eq!(two.width(), one.width());
        assert_eq!(two.height() - one.height(), one.height() - MARGIN * 2 + BETWEEN_ROWS);
        assert_eq!(draw(&[row("x", &["a"; 3])]).width() - one.width(), CELL + GAP);
        assert!(draw(&[row("x", &[LONG])]).height() > draw(&[row("x", &["short"])]).height());
    }

    #[test]
    fn text_stays_under_its_picture() {
        let unbroken = "W".repeat(500);
        let foreign = "一只狗在草地上奔跑".repeat(20);
        for text in [LONG, &unbroken, &foreign] {
            let sheet = draw(&[row(text, &[text, "", text])]);
            let first = MARGIN + CELL + ARROW;
            let cells = [MARGIN, first, first + 2 * (CELL + GAP)];
            let columns = written_columns(&sheet);
            for x in &columns {
                let inside = cells.iter().any(|cell| (*cell..cell + CELL).contains(x));
                // because: the tile without caption has its heading all the same
                let heading = (first + CELL + GAP..first + CELL + GAP + CELL).contains(x);
                assert!(inside || heading, "column {x} is written on");
            }
            assert!(columns.len() > 3 * 100, "the text is missing");
            let margin = sheet.height() - MARGIN..sheet.height();
            assert!(
                margin
                    .flat_map(|y| (0..sheet.width()).map(move |x| (x, y)))
                    .all(|(x, y)| *sheet.get_pixel(x, y) == PAPER)
            );
        }
    }

    #[test]
    fn text_without_room_ends_in_an_ellipsis() {
        let lines = CAPTION.wrap(LONG, CELL as f32);
        assert_eq!(lines.len(), 3);
        assert!(lines[2].ends_with('…'), "{lines:?}");
        assert!(lines.iter().all(|line| CAPTION.width(line) <= CELL as f32), "{lines:?}");
        assert!(LONG.starts_with(lines.join(" ").trim_end_matches('…')), "{lines:?}");
        assert_eq!(CAPTION.wrap("a red\n shoe ", CELL as f32), ["a red shoe"]);
    }

    #[test]
    fn pictures_keep_their_proportions() {
        let wide = Row { reference: Some(picture(100, 25)), modifier: None, results: vec![] };
        let sheet = draw(&[wide]);
        let red = |x: u32, y: u32| *sheet.get_pixel(MARGIN + x, MARGIN + y) == RED;
        assert_eq!((0..CELL).filter(|&x| red(x, CELL / 2)).count(), 192);
        assert_eq!((0..CELL).filter(|&y| red(CELL / 2, y)).count(), 48);
    }

    #[test]
    fn what_was_looked_for_is_framed() {
        let framed = |wanted| {
            let row = Row { results: vec![Tile { wanted, ..tile("") }], ..row("x", &[]) };
            let corner = (MARGIN + CELL + ARROW + 1, MARGIN + CELL / 2);
            *draw(&[row]).get_pixel(corner.0, corner.1) == WANTED
        };
        assert_eq!([true, false].map(framed), [true, false]);
    }

    #[test]
    fn anything_can_be_drawn() {
        assert_eq!(draw(&[]).dimensions(), (MARGIN * 2 + CELL, MARGIN * 2));
        let nothing = Row { reference: None, modifier: None, results: vec![] };
        assert_eq!(draw(&[nothing]).height(), MARGIN * 2 + CELL);
        for (width, height) in [(1, 1), (0, 0), (0, 5), (5000, 1), (1, 5000)] {
            let results = vec![Tile {
                picture: picture(width, height),
                heading: String::new(),
                similarity: Some(f32::NAN),
                caption: String::new(),
                wanted: true,
            }];
            draw(&[Row { reference: Some(picture(width, height)), modifier: None, results }]);
        }
        for text in ["", " \n\t", "日本語 العربية 👩‍👩‍👧 \u{0}\u{7f}\u{feff}", "e\u{301}", "…", "W"]
        {
            draw(&[row(text, &[text])]);
            draw(&[Row { reference: None, modifier: Some(text.into()), results: vec![] }]);
        }
    }
}
