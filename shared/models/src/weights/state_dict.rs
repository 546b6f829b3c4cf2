//! The tensors of a pickled state dict. Storages may be shared, and strides arbitrary.

use std::{collections::HashMap, ops::Range};

use safetensors::Dtype;

use super::{
    layout::Layout,
    pickle::{Id, Pickle, Value},
};

/// The key under which training programs keep the weights beside their own state.
const NESTED: &str = "model";

/// Where in the file each storage lies, by its key.
pub(super) type Storages = HashMap<String, Range<usize>>;

/// Every tensor's name and layout, of the state dict itself or of the one that is nested in it.
pub(super) fn tensors(
    pickle: &Pickle,
    storages: &Storages,
) -> Result<Vec<(String, Layout)>, String> {
    let root = pickle.root();
    let nested = pickle.entry(root, NESTED).filter(|value| matches!(value, Value::Dict(_)));
    let state = nested.unwrap_or(root);
    let Value::Dict(entries) = state else {
        return Err(format!("it holds {} instead of a state dict", pickle.describe(state)));
    };
    let tensors = entries.iter().map(|(name, value)| {
        let Value::Text(name) = pickle.get(*name) else {
            return Err("a key of its state dict is not a text".to_owned());
        };
        let layout = tensor(pickle, *value, storages)
            .map_err(|reason| format!("\"{name}\" in it {reason}"))?;
        Ok((name.clone(), layout))
    });
    tensors.collect()
}

/// The type of each storage's values, by its key.
pub(super) fn storage_types(pickle: &Pickle) -> Result<HashMap<String, Dtype>, String> {
    let storages = pickle.persistent().map(|id| {
        let (key, dtype) = storage(pickle, id)?;
        Ok((key.to_owned(), dtype))
    });
    storages.collect()
}

/// Errors fit behind the tensor's name.
fn tensor(pickle: &Pickle, id: Id, storages: &Storages) -> Result<Layout, String> {
    let value = pickle.get(id);
    let no_tensor = || format!("is {}, not a tensor", pickle.describe(value));
    let (mut function, mut arguments) = call(pickle, value).ok_or_else(no_tensor)?;
    // Once, because a hostile file may nest a parameter in itself.
    if let ("torch._utils._rebuild_parameter", [data, ..]) = (function, arguments) {
        (function, arguments) = call(pickle, pickle.get(*data)).ok_or_else(no_tensor)?;
    }
    match (function, arguments) {
        ("torch._tensor._rebuild_from_type_v2", [_, _, inner, ..]) => {
            rebuild(pickle, items(pickle, *inner).ok_or_else(no_tensor)?, storages)
        }
        ("torch._utils._rebuild_tensor_v2", arguments) => rebuild(pickle, arguments, storages),
        _ => Err(no_tensor()),
    }
}

/// The arguments are the storage, the number of the first element in it, shape, strides, and what
/// only training needs.
fn rebuild(pickle: &Pickle, arguments: &[Id], storages: &Storages) -> Result<Layout, String> {
    let [data, offset, shape, strides, ..] = arguments else {
        return Err("is described by too few values".to_owned());
    };
    let Value::Persistent(data) = pickle.get(*data) else {
        return Err("has no storage".to_owned());
    };
    let (key, dtype) = storage(pickle, *data)?;
    let range = storages.get(key).ok_or_else(|| format!("lies in storage {key}, which is lost"))?;
    let numbers = |id: &Id| items(pickle, *id)?.iter().map(|id| number(pickle, *id)).collect();
    let layout = number(pickle, *offset).zip(numbers(shape)).zip(numbers(strides)).and_then(
        |((offset, shape), strides)| Layout::new(dtype, shape, strides, offset, range.clone()),
    );
    layout.ok_or_else(|| format!("reaches outside its storage {key}"))
}

/// The key of a storage and the type of its values, from `("storage", type, key, device, length)`.
fn storage(pickle: &Pickle, id: Id) -> Result<(&str, Dtype), String> {
    let Some([_, kind, key, _, _, view @ ..]) = items(pickle, id) else {
        return Err("has a storage that is not described".to_owned());
    };
    let (Value::Global(kind), Value::Text(key)) = (pickle.get(*kind), pickle.get(*key)) else {
        return Err("has a storage without a type or a key".to_owned());
    };
    if view.iter().any(|id| *pickle.get(*id) != Value::None) {
        return Err("lies in a view of a storage, which is not supported".to_owned());
    }
    let dtype = match kind.as_str() {
        "torch.FloatStorage" => Dtype::F32,
        "torch.HalfStorage" => Dtype::F16,
        "torch.BFloat16Storage" => Dtype::BF16,
        "torch.DoubleStorage" => Dtype::F64,
        "torch.LongStorage" => Dtype::I64,
        "torch.IntStorage" => Dtype::I32,
        "torch.ShortStorage" => Dtype::I16,
        "torch.CharStorage" => Dtype::I8,
        "torch.ByteStorage" => Dtype::U8,
        "torch.BoolStorage" => Dtype::BOOL,
        other => return Err(format!("has values of type {other}, which is not supported")),
    };
    Ok((key, dtype))
}

fn call<'a>(pickle: &'a Pickle, value: &Value) -> Option<(&'a str, &'a [Id])> {
    let Value::Call { callable, arguments } = value else { return None };
    let Value::Global(name) = pickle.get(*callable) else { return None };
    Some((name, items(pickle, *arguments)?))
}

fn items(pickle: &Pickle, id: Id) -> Option<&[Id]> {
    match pickle.get(id) {
        Value::Tuple(items) | Value::List(items) => Some(items),
        _ => None,
    }
}

fn number(pickle: &Pickle, id: Id) -> Option<usize> {
    match pickle.get(id) {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}
