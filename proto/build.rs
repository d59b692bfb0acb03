//! Compiles the messages and services that stand in this folder, without a
//! system protoc.

use std::path::PathBuf;

const FILES: &[&str] = &[
    "etcd/kv.proto",
    "etcd/auth.proto",
    "etcd/rpc.proto",
    "etcd/v3lock.proto",
    "etcd/v3election.proto",
    "grpc/health.proto",
    "kat/log.proto",
    "kat/peer.proto",
];
const FOLDERS: &[&str] = &["proto/etcd", "proto/grpc", "proto/kat"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for folder in FOLDERS {
        println!("cargo::rerun-if-changed={folder}");
    }
    println!("cargo::rerun-if-changed=proto/build.rs");
    let files = FILES.iter().map(|file| format!("proto/{file}"));
    let descriptors = protox::compile(files, FOLDERS)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // The tests count services, messages and fields in it.
    std::fs::write(out.join("descriptors.bin"), prost_bytes(&descriptors))?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)?;
    Ok(())
}

fn prost_bytes(descriptors: &impl prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
