//! Keys: ECDSA on the curve P-256, which is what cosign makes.
//!
//! A private key is PKCS#8, plain or in cosign's box: NaCl's secretbox with a key that scrypt makes from the password.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use scrypt::Params;
use serde::Deserialize;
use thiserror::Error;

use super::pem;

/// What stands before the point of a public key on P-256 (RFC 5480): nothing else is such a key.
const PUBLIC: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A point, not compressed.
const POINT: usize = 65;

/// The most memory that a box may want for its password, in bytes. cosign's boxes want 64 MiB.
const MEMORY: u64 = 256 << 20;

/// Why a text is no key that can be used. No message has a byte of a key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such section in it.
    #[error("no {0} key in it (PEM)")]
    Missing(&'static str),
    /// It is for another algorithm, or damaged.
    #[error("not an ECDSA key on the curve P-256, or damaged")]
    Kind,
    /// A private key in the older form.
    #[error("the key is not in the form PKCS#8 (openssl pkcs8 -topk8 -nocrypt -in KEY)")]
    Form,
    /// A private key that another program encrypted.
    #[error("the key is encrypted, but not by cosign (openssl pkcs8 -in KEY)")]
    Encrypted,
    /// The box is not one of cosign's.
    #[error("the encrypted key is not in cosign's form: {0}")]
    Box(&'static str),
    /// The password does not open the box.
    #[error("the password is wrong (it is read from COSIGN_PASSWORD)")]
    Password,
    /// The system gives no random numbers.
    #[error("signing failed")]
    Signing,
}

/// A key that signatures are verified with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; POINT]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

impl PublicKey {
    /// Reads a key in PEM.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let sections = pem::sections(text).ok_or(KeyError::Missing("public"))?;
        let section = sections.into_iter().find(|section| section.label == "PUBLIC KEY");
        Self::of(&section.ok_or(KeyError::Missing("public"))?.bytes)
    }

    fn of(bytes: &[u8]) -> Result<Self, KeyError> {
        let point = bytes.strip_prefix(&PUBLIC[..]).and_then(|point| <[u8; POINT]>::try_from(point).ok());
        point.map(Self).ok_or(KeyError::Kind)
    }

    /// Whether a signature of a message is this key's.
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(message, signature).is_ok()
    }

    /// The key in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem::text("PUBLIC KEY", &[&PUBLIC[..], &self.0].concat())
    }
}

/// A key that signs.
pub struct PrivateKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl PrivateKey {
    /// Reads a key in PEM; the password is only asked for where one is needed.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str, password: impl FnOnce() -> String) -> Result<Self, KeyError> {
        for section in pem::sections(text).ok_or(KeyError::Missing("private"))? {
            let plain = match section.label.as_str() {
                "PRIVATE KEY" => section.bytes,
                "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => open(&section.bytes, &password())?,
                "EC PRIVATE KEY" => return Err(KeyError::Form),
                "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
                _ => continue,
            };
            let random = SystemRandom::new();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &plain, &random);
            return Ok(Self { pair: pair.map_err(|_| KeyError::Kind)?, random });
        }
        Err(KeyError::Missing("private"))
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`KeyError::Signing`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&self.random, message).map_err(|_| KeyError::Signing)?;
        Ok(signature.as_ref().to_vec())
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let point = self.pair.public_key().as_ref().try_into();
        PublicKey(point.expect("ring's points on P-256 are not compressed"))
    }
}

/// cosign's box, as it is written.
#[derive(Deserialize)]
struct Written {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Cost,
    salt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// What is in a box.
fn open(bytes: &[u8], password: &str) -> Result<Vec<u8>, KeyError> {
    let written: Written = serde_json::from_slice(bytes).map_err(|_| KeyError::Box("its JSON"))?;
    if written.kdf.name != "scrypt" || written.cipher.name != "nacl/secretbox" {
        return Err(KeyError::Box("its algorithms are not scrypt and nacl/secretbox"));
    }
    let Cost { n, r, p } = written.kdf.params;
    // A box comes with the key, but often from elsewhere.
    let is_modest = n.saturating_mul(u64::from(r)).saturating_mul(128) <= MEMORY && p <= 16;
    if !n.is_power_of_two() || !is_modest {
        return Err(KeyError::Box("its cost for scrypt"));
    }
    let params = Params::new(n.trailing_zeros() as u8, r, p).map_err(|_| KeyError::Box("its cost for scrypt"))?;
    let decoded = |text: &str, what| STANDARD.decode(text).map_err(|_| KeyError::Box(what));
    let (salt, nonce) = (decoded(&written.kdf.salt, "its salt")?, decoded(&written.cipher.nonce, "its nonce")?);
    let sealed = decoded(&written.ciphertext, "its ciphertext")?;
    let nonce = <[u8; 24]>::try_from(&nonce[..]).map_err(|_| KeyError::Box("its nonce"))?;
    let mut key = [0; 32];
    scrypt::scrypt(password.as_bytes(), &salt, &params, &mut key).map_err(|_| KeyError::Box("its cost for scrypt"))?;
    let cipher = XSalsa20Poly1305::new(&key.into());
    cipher.decrypt(&nonce.into(), &sealed[..]).map_err(|_| KeyError::Password)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::trust) fn made() -> (String, PrivateKey) {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let text = pem::text("PRIVATE KEY", made.as_ref());
        let key = PrivateKey::parse(&text, || unreachable!("it is not encrypted")).unwrap();
        (text, key)
    }

    fn boxed(plain: &[u8], password: &str, n: u64) -> String {
        let (salt, nonce, mut key) = ([7; 32], [9; 24], [0; 32]);
        let params = Params::new(n.trailing_zeros() as u8, 8, 1).unwrap();
        scrypt::scrypt(password.as_bytes(), &salt, &params, &mut key).unwrap();
        let sealed = XSalsa20Poly1305::new(&key.into()).encrypt(&nonce.into(), plain).unwrap();
        let document = serde_json::json!({
            "kdf": { "name": "scrypt", "params": { "N": n, "r": 8, "p": 1 }, "salt": STANDARD.encode(salt) },
            "cipher": { "name": "nacl/secretbox", "nonce": STANDARD.encode(nonce) },
            "ciphertext": STANDARD.encode(sealed),
        });
        pem::text("ENCRYPTED SIGSTORE PRIVATE KEY", document.to_string().as_bytes())
    }

    #[test]
    fn a_signature_is_good_for_its_message_and_key_alone() {
        let ((_, key), (_, other)) = (made(), made());
        let signature = key.sign(b"message").unwrap();
        let public = PublicKey::parse(&key.public().pem()).unwrap();
        assert!(public.signed(b"message", &signature));
        assert!(!public.signed(b"massage", &signature) && !other.public().signed(b"message", &signature));
        for at in 0..signature.len() {
            let mut forged = signature.clone();
            forged[at] ^= 1;
            assert!(!public.signed(b"message", &forged), "{at}");
        }
        assert!(!public.signed(b"message", b""));
    }

    #[test]
    fn a_box_opens_with_its_password_alone() {
        let (text, key) = made();
        let plain = pem::sections(&text).unwrap().remove(0).bytes;
        let sealed = boxed(&plain, "s3cret", 1024);
        let opened = PrivateKey::parse(&sealed, || "s3cret".into()).unwrap();
        assert_eq!(opened.public(), key.public());
        assert!(matches!(PrivateKey::parse(&sealed, String::new), Err(KeyError::Password)));
        let old = sealed.replace("SIGSTORE", "COSIGN");
        assert!(PrivateKey::parse(&old, || "s3cret".into()).is_ok());
        let huge = pem::sections(&sealed).unwrap().remove(0).bytes;
        let huge = String::from_utf8(huge).unwrap().replace("1024", "1073741824");
        let huge = pem::text("ENCRYPTED SIGSTORE PRIVATE KEY", huge.as_bytes());
        assert!(matches!(PrivateKey::parse(&huge, String::new), Err(KeyError::Box(_))));
    }

    #[test]
    fn what_is_no_key_says_why() {
        let (text, key) = made();
        let refused = |text: &str| PrivateKey::parse(text, String::new).err().unwrap().to_string();
        assert!(refused("").contains("no private key"));
        assert!(refused(&key.public().pem()).contains("no private key"));
        assert!(refused(&text.replace("PRIVATE KEY", "EC PRIVATE KEY")).contains("PKCS#8"));
        assert!(refused(&text.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).contains("not by cosign"));
        assert!(refused(&pem::text("PRIVATE KEY", b"x")).contains("P-256"));
        assert!(matches!(PublicKey::parse(&text), Err(KeyError::Missing("public"))));
        assert!(matches!(PublicKey::parse(&pem::text("PUBLIC KEY", &PUBLIC)), Err(KeyError::Kind)));
    }
}
