fn main() {
    println!("cargo:rustc-env=TRACER_EBPF_OBJECT={}/../target/ebpf/tracer.bpf.o", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    println!("cargo:rerun-if-changed=../target/ebpf/tracer.bpf.o");
}
