//! The small models inside this program: `bundled/clip` and `bundled/captioner`.

#[derive(Debug, Clone, Copy)]
pub(crate) struct BundledFiles {
    pub(crate) config: &'static [u8],
    pub(crate) tokenizer: &'static [u8],
    pub(crate) preprocessor: &'static [u8],
    pub(crate) weights: &'static [u8],
}

macro_rules! bundled_files {
    ($folder:literal) => {
        BundledFiles {
            config: include_bytes!(concat!("../bundled/", $folder, "/config.json")),
            tokenizer: include_bytes!(concat!("../bundled/", $folder, "/tokenizer.json")),
            preprocessor: include_bytes!(concat!(
                "../bundled/",
                $folder,
                "/preprocessor_config.json"
            )),
            weights: include_bytes!(concat!("../bundled/", $folder, "/model.safetensors")),
        }
    };
}

pub(crate) const CLIP: BundledFiles = bundled_files!("clip");
pub(crate) const CAPTIONER: BundledFiles = bundled_files!("captioner");

/// Weights (α, β) that suit the bundled encoder: chosen on the catalogue's validation gallery.
pub(crate) const WEIGHTS: (f32, f32) = (0.6, 0.2);
