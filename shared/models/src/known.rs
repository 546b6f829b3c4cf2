//! The models that the method is known with: data alone. What they look like inside is read from
//! their own files when they are loaded.
//!
//! Parameters, dimensions and sides are what tests/fixtures/count.py counts.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    bundled,
    dual_encoder::{BLIP_WEIGHTS, CLIP_WEIGHTS},
    files::{ModelFiles, Role},
    hub::Hub,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Inside this program.
    Bundled,
    /// The Hugging Face hub.
    Hub,
    /// A file to download by hand, at this address.
    File(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownModel {
    /// What `--model` or `--captioner` takes; for a file, its name.
    pub name: &'static str,
    pub role: Role,
    pub origin: Origin,
    /// Of the model as it is used, each shared tensor once. A file can hold more.
    pub parameters: u64,
    /// Values of an embedding; a captioner has none.
    pub dim: Option<u32>,
    /// Side of the square that a picture becomes, in pixels.
    pub side: u32,
    /// As the model's card states it.
    pub licence: &'static str,
    /// Weights (α, β) for when the caller names none; a captioner has none.
    pub weights: Option<(f32, f32)>,
}

/// Whether a model can be loaded without a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "path", rename_all = "snake_case")]
pub enum Cached {
    Bundled,
    Whole(PathBuf),
    /// Some files are missing.
    Partly(PathBuf),
    No,
}

impl KnownModel {
    /// Bytes of the parameters as f32.
    pub fn bytes(&self) -> u64 {
        4 * self.parameters
    }

    /// Looks for every file of the model, at any commit, without asking the hub.
    pub fn cached(&self, hub: &Hub) -> Cached {
        match self.origin {
            Origin::Bundled => return Cached::Bundled,
            Origin::File(_) => return Cached::No,
            Origin::Hub => {}
        }
        let offline = hub.offline();
        let mut partly = Cached::No;
        for (commit, folder) in hub.snapshots(self.name) {
            if ModelFiles::of_hub(&offline, self.name, &commit).is_ok() {
                return Cached::Whole(folder);
            }
            partly = Cached::Partly(folder);
        }
        partly
    }
}

const MIT: &str = "MIT";
const APACHE: &str = "Apache-2.0";
const BSD: &str = "BSD-3-Clause";
/// The cards say nothing; the repository that they point to is under MIT.
const OPENAI: &str = "MIT (of the code; the card states none)";

const fn clip(name: &'static str, parameters: u64, dim: u32, licence: &'static str) -> KnownModel {
    KnownModel {
        name,
        role: Role::Encoder,
        origin: Origin::Hub,
        parameters,
        dim: Some(dim),
        side: 224,
        licence,
        weights: Some(CLIP_WEIGHTS),
    }
}

const BLIP_BASE: u64 = 223_744_258;
const BLIP_LARGE: u64 = 446_128_642;

const fn blip(name: &'static str, origin: Origin, parameters: u64) -> KnownModel {
    KnownModel {
        name,
        role: Role::Encoder,
        origin,
        parameters,
        dim: Some(256),
        side: 384,
        licence: BSD,
        weights: Some(BLIP_WEIGHTS),
    }
}

const fn captioner(name: &'static str, parameters: u64) -> KnownModel {
    KnownModel {
        name,
        role: Role::Captioner,
        origin: Origin::Hub,
        parameters,
        dim: None,
        side: 384,
        licence: BSD,
        weights: None,
    }
}

macro_rules! salesforce {
    ($file:literal) => {
        Origin::File(concat!(
            "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/",
            $file
        ))
    };
}

/// Encoders first, small before large.
pub const KNOWN_MODELS: &[KnownModel] = &[
    KnownModel {
        name: "bundled",
        role: Role::Encoder,
        origin: Origin::Bundled,
        parameters: 1_560_065,
        dim: Some(128),
        side: 64,
        licence: APACHE,
        weights: Some(bundled::WEIGHTS),
    },
    clip("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 151_277_313, 512, MIT),
    clip("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", 427_616_513, 768, MIT),
    clip("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 986_109_441, 1024, MIT),
    clip("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", 2_539_567_105, 1280, MIT),
    clip("openai/clip-vit-base-patch32", 151_277_313, 512, OPENAI),
    clip("openai/clip-vit-base-patch16", 149_620_737, 512, OPENAI),
    clip("openai/clip-vit-large-patch14", 427_616_513, 768, OPENAI),
    blip("Salesforce/blip-itm-base-coco", Origin::Hub, BLIP_BASE),
    blip("Salesforce/blip-itm-base-flickr", Origin::Hub, BLIP_BASE),
    blip("Salesforce/blip-itm-large-coco", Origin::Hub, BLIP_LARGE),
    blip("Salesforce/blip-itm-large-flickr", Origin::Hub, BLIP_LARGE),
    blip("model_base.pth", salesforce!("model_base.pth"), BLIP_BASE),
    blip("model_base_retrieval_coco.pth", salesforce!("model_base_retrieval_coco.pth"), BLIP_BASE),
    blip(
        "model_base_retrieval_flickr.pth",
        salesforce!("model_base_retrieval_flickr.pth"),
        BLIP_BASE,
    ),
    blip("model_large.pth", salesforce!("model_large.pth"), BLIP_LARGE),
    blip(
        "model_large_retrieval_coco.pth",
        salesforce!("model_large_retrieval_coco.pth"),
        BLIP_LARGE,
    ),
    blip(
        "model_large_retrieval_flickr.pth",
        salesforce!("model_large_retrieval_flickr.pth"),
        BLIP_LARGE,
    ),
    KnownModel {
        name: "bundled",
        role: Role::Captioner,
        origin: Origin::Bundled,
        parameters: 1_666_612,
        dim: None,
        side: 64,
        licence: APACHE,
        weights: None,
    },
    captioner("Salesforce/blip-image-captioning-base", 223_971_644),
    captioner("Salesforce/blip-image-captioning-large", 446_290_492),
];
