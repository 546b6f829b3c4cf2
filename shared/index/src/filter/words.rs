//! Rows by word: a bitmap for each word, and for each row its words, so that a row can be forgotten
//! without looking at every word.

use std::{collections::HashMap, sync::Arc};

use roaring::{MultiOps, RoaringBitmap};

use super::{bitmap_bytes, place};

#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    /// Rows that have a word.
    rows: RoaringBitmap,
    ids: HashMap<Arc<str>, u32>,
    /// By id; one that no row has any more is `None`, and its id in `free`.
    words: Vec<Option<Word>>,
    free: Vec<u32>,
    /// The first word of each row, or `NO_WORD`, by the row's upper and lower 16 bits.
    first: Vec<Vec<u32>>,
    /// The words after the first, of rows that have more.
    more: HashMap<u32, Vec<u32>>,
}

#[derive(Debug, Clone)]
struct Word {
    text: Arc<str>,
    rows: RoaringBitmap,
}

const NO_WORD: u32 = u32::MAX;

impl Words {
    pub(super) fn insert<'w>(&mut self, row: u32, words: impl Iterator<Item = &'w str>) {
        for word in words {
            let id = self.id(word);
            if let Some(word) = &mut self.words[id as usize] {
                word.rows.insert(row);
            }
            self.note(row, id);
        }
    }

    fn id(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let text: Arc<str> = text.into();
        let word = Some(Word { text: text.clone(), rows: RoaringBitmap::new() });
        let id = match self.free.pop() {
            Some(id) => {
                self.words[id as usize] = word;
                id
            }
            None => {
                self.words.push(word);
                self.words.len() as u32 - 1
            }
        };
        self.ids.insert(text, id);
        id
    }

    fn note(&mut self, row: u32, id: u32) {
        self.rows.insert(row);
        let (page, place) = place(row);
        if self.first.len() <= page {
            self.first.resize(page + 1, Vec::new());
        }
        let page = &mut self.first[page];
        if page.len() <= place {
            page.resize(place + 1, NO_WORD);
        }
        match page[place] {
            NO_WORD => page[place] = id,
            _ => self.more.entry(row).or_default().push(id),
        }
    }

    pub(super) fn remove(&mut self, row: u32) {
        let (page, place) = place(row);
        let first = self.first.get_mut(page).and_then(|page| page.get_mut(place));
        let Some(first) = first else { return };
        let first = std::mem::replace(first, NO_WORD);
        if first == NO_WORD {
            return;
        }
        self.rows.remove(row);
        let more = self.more.remove(&row).unwrap_or_default();
        for id in std::iter::once(first).chain(more) {
            let held = &mut self.words[id as usize];
            if let Some(word) = held {
                word.rows.remove(row);
            }
            if let Some(word) = held.take_if(|word| word.rows.is_empty()) {
                self.ids.remove(&word.text);
                self.free.push(id);
            }
        }
    }

    pub(super) fn rows(&self) -> RoaringBitmap {
        self.rows.clone()
    }

    /// The rows that have one of the words.
    pub(super) fn equal_to<'w>(&self, words: impl Iterator<Item = &'w str>) -> RoaringBitmap {
        words.filter_map(|text| self.held(text)).union()
    }

    fn held(&self, text: &str) -> Option<&RoaringBitmap> {
        let id = *self.ids.get(text)?;
        self.words[id as usize].as_ref().map(|word| &word.rows)
    }

    pub(super) fn bytes(&self) -> usize {
        let words = self.words.iter().flatten();
        let words = words.map(|word| bitmap_bytes(&word.rows) + word.text.len() + 64);
        let more = self.more.values().map(|ids| ids.capacity() * size_of::<u32>() + 40);
        let first = self.first.iter().map(|page| page.capacity() * size_of::<u32>() + 24);
        words.sum::<usize>() + more.sum::<usize>() + first.sum::<usize>() + bitmap_bytes(&self.rows)
    }
}
