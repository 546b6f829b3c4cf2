//! The models: dual encoders and captioners, their preprocessing, and the threads they run on.
//! The only crate that names candle. What their features are used for is `weimocir-domain`'s.

mod blip;
mod bundled;
mod captioner;
mod clip;
mod device;
mod device_choice;
mod dual_encoder;
mod encoder;
mod encoder_handle;
mod error;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hub;
mod image;
mod kernels;
mod known;
mod layers;
mod options;
mod passes;
mod pre_norm;
mod simulated;
mod source;
mod text;
mod text_preprocessor;
mod weights;

pub use captioner::{
    ApiKey, BlipCaptioner, BlipHandle, ByName, CaptionError, Captioner, EndpointCaptioner,
    EndpointError, EndpointSettings, FileCaptioner, Picture, TableError,
};
pub use device::{Budget, Cost, DeviceError, DeviceThread, Lane, Queues, Timed};
pub use device_choice::DeviceChoice;
pub use encoder::{EncodedText, Encoder};
pub use encoder_handle::EncoderHandle;
pub use error::{ModelError, TextError};
pub use files::Role;
pub use hub::Hub;
pub use image::{ImageError, ImageLimits, Pixels, Preprocessor};
pub use known::{Cached, KNOWN_MODELS, KnownModel, Origin};
pub use options::{ModelOptions, PixelRecipe, Precision};
pub use simulated::Simulated;
pub use source::ModelSource;
pub use text::Tokens;
pub use text_preprocessor::TextPreprocessor;

/// What a caught panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".to_owned())
}
