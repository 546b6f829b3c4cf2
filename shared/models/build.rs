fn main() {
    println!("cargo::rustc-check-cfg=cfg(bundled)");
    println!("cargo::rerun-if-changed=bundled");
    let all = ["clip", "captioner"].iter().all(|m| {
        ["config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"]
            .iter()
            .all(|f| std::path::Path::new("bundled").join(m).join(f).exists())
    });
    if all {
        println!("cargo::rustc-cfg=bundled");
    }
}
