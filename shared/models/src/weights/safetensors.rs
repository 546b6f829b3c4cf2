//! Finds the tensors of a safetensors file.

use safetensors::SafeTensors;

use super::layout::Layout;

/// Every tensor's name and layout; the error says what is wrong with the file.
pub(super) fn index(file: &[u8]) -> Result<Vec<(String, Layout)>, String> {
    let (header, metadata) = SafeTensors::read_metadata(file).map_err(|e| e.to_string())?;
    let data = size_of::<u64>() + header;
    let layouts = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let layout = Layout::contiguous(info.dtype, info.shape.clone(), data + start..data + end);
        let layout = layout.ok_or_else(|| format!("tensor \"{name}\" reaches outside the file"))?;
        Ok((name, layout))
    });
    layouts.collect()
}
