//! Images: `submit` puts them in, `browse` lists, shows and deletes them, `files` gives their bytes,
//! `thumbnails` makes them small.

mod browse;
mod files;
mod submit;
mod thumbnails;

pub(crate) use browse::*;
pub(crate) use files::*;
pub(crate) use submit::*;
pub(crate) use thumbnails::Thumbnails;
