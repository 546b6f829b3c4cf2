//! What libjpeg does when a file is bad: it unwinds with a [`Complaint`], even if pixels are lost
//! that it would make up. Its own handlers would end the process, or print and go on.

use std::{
    ffi::{CStr, c_int, c_long},
    mem,
    panic::resume_unwind,
};

use mozjpeg_sys::{
    JTRC_SOS, JWRN_HIT_MARKER, JWRN_HUFF_BAD_CODE, JWRN_JPEG_EOF, JWRN_MUST_RESYNC,
    jpeg_common_struct, jpeg_error_mgr, jpeg_std_error,
};

/// Far more than encoders write; because each scan of a hostile file costs a pass over the picture.
const SCANS: c_long = 500;

/// Enough for every message, as jpeglib.h says.
type Text = [u8; 200];

/// What the decoder unwinds with.
#[derive(Debug)]
pub(super) struct Complaint {
    /// A `JERR` or `JWRN`; `JTRC_SOS` if there are too many scans.
    pub(super) code: c_int,
    pub(super) reason: String,
}

pub(super) fn strict() -> jpeg_error_mgr {
    // SAFETY: all zero is a value of this struct of numbers and nullable pointers; libjpeg sets
    // every field.
    let mut errors = unsafe {
        let mut errors: jpeg_error_mgr = mem::zeroed();
        jpeg_std_error(&mut errors);
        errors
    };
    errors.error_exit = Some(complain);
    errors.emit_message = Some(hear);
    errors
}

/// Without the panic hook, which would write each bad file to the log as a panic.
unsafe extern "C-unwind" fn complain(decoder: &mut jpeg_common_struct) {
    // SAFETY: libjpeg calls with a decoder that has its handlers.
    let (code, reason) = unsafe { ((*decoder.err).msg_code, message(decoder)) };
    resume_unwind(Box::new(Complaint { code, reason }));
}

/// Hears of warnings and of each part of the file. Warnings of stray bytes and odd versions, which
/// some cameras' files give, pass.
unsafe extern "C-unwind" fn hear(decoder: &mut jpeg_common_struct, _level: c_int) {
    // SAFETY: libjpeg calls with a decoder that has its handlers, and they belong to it alone.
    let errors = unsafe { &mut *decoder.err };
    match errors.msg_code {
        JWRN_JPEG_EOF | JWRN_HIT_MARKER | JWRN_HUFF_BAD_CODE | JWRN_MUST_RESYNC => {
            // SAFETY: as this function was called.
            unsafe { complain(decoder) };
        }
        JTRC_SOS => count_scan(errors),
        _ => {}
    }
}

/// In the count of warnings, which libjpeg leaves to the handler that is replaced here.
fn count_scan(errors: &mut jpeg_error_mgr) {
    errors.num_warnings += 1;
    if errors.num_warnings > SCANS {
        let reason = format!("it has more than {SCANS} scans");
        resume_unwind(Box::new(Complaint { code: JTRC_SOS, reason }));
    }
}

/// # Safety
/// The decoder must have its handlers.
unsafe fn message(decoder: &mut jpeg_common_struct) -> String {
    // The bindings call the text that is written immutable, and shorter than it may be.
    type Format = unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &mut Text);
    type Declared = unsafe extern "C-unwind" fn(&mut jpeg_common_struct, &[u8; 80]);
    let mut text: Text = [0; 200];
    // SAFETY: both are pointers to a function that takes two pointers.
    unsafe {
        if let Some(format) = (*decoder.err).format_message {
            mem::transmute::<Declared, Format>(format)(decoder, &mut text);
        }
    }
    CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy().into_owned()
}
