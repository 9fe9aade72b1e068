fn main() {
    let number = itoa::Buffer::new().format(env!("CARGO_PKG_VERSION_MAJOR").len()).to_owned();
    println!("program {} {number}", env!("CARGO_PKG_VERSION"));
}
