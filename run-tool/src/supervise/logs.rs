//! Log files of containers, in docker's json-file format or as plain text: the supervisor writes and rotates them, `logs` reads them.
//! Output for systemd's journal is split into lines here too.

mod reader;
mod writer;

pub(crate) use self::reader::Reader;
pub(crate) use self::writer::Writer;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::container::output::{Driver, Origin, Settings};
    use crate::supervise::record::{LINE, Stream};

    fn settings(folder: &Path, options: &[&str]) -> Settings {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let env = ["A=1".to_owned(), "B=x y".to_owned()];
        let labels = [("app", "web"), ("other", "1")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let origin = Origin { bundle: folder, id: "c", name: None, labels, env: &env };
        Settings::parse("json-file", &options, &origin).unwrap()
    }

    fn read_all(settings: Settings) -> String {
        let mut reader = Reader::open(settings);
        std::iter::from_fn(|| reader.next().unwrap()).map(|record| record.log).collect()
    }

    #[test]
    fn lines_of_both_streams_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &[]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        writer.write(Stream::Out, b"one\ntw").unwrap();
        writer.write(Stream::Err, b"bad\n").unwrap();
        writer.write(Stream::Out, b"o\nrest").unwrap();
        writer.flush(Stream::Out).unwrap();
        let text = fs::read_to_string(&settings.path).unwrap();
        assert!(text.starts_with(r#"{"log":"one\n","stream":"stdout","time":""#), "{text}");
        assert_eq!(read_all(settings), "one\nbad\ntwo\nrest");
    }

    #[test]
    fn what_was_asked_for_stands_beside_each_line() {
        let folder = tempfile::tempdir().unwrap();
        let options = ["labels=app,nosuch", "env=B,C", "tag=t", "mode=non-blocking", "max-buffer-size=1m"];
        let settings = settings(folder.path(), &options);
        Writer::open(settings.clone()).unwrap().write(Stream::Out, b"one\n").unwrap();
        let text = fs::read_to_string(&settings.path).unwrap();
        let expected = r#"{"log":"one\n","stream":"stdout","attrs":{"B":"x y","app":"web","tag":"t"},"time":""#;
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(Reader::open(settings).next().unwrap().unwrap().attrs["app"], "web");
    }

    #[test]
    fn rotation_keeps_the_newest_files() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=200", "max-file=3"]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        for number in 0..50 {
            writer.write(Stream::Out, format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let text = read_all(settings);
        assert!(text.ends_with("line 48\nline 49\n") && !text.contains("line 1\n"), "{text}");
    }

    #[test]
    fn a_log_without_newlines_is_read_in_pieces_of_whole_characters() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("x{}", "\u{20ac}".repeat(LINE));
        for driver in [Driver::File, Driver::JsonFile] {
            let settings = Settings { driver, ..settings(folder.path(), &[&format!("path={driver:?}")]) };
            let mut writer = Writer::open(settings.clone()).unwrap();
            text.as_bytes().chunks(1000).for_each(|piece| writer.write(Stream::Out, piece).unwrap());
            writer.flush(Stream::Out).unwrap();
            let mut reader = Reader::open(settings);
            let mut read = String::new();
            while let Some(record) = reader.next().unwrap() {
                assert!(record.log.len() <= LINE);
                read.push_str(&record.log);
            }
            read.push_str(&reader.rest().map_or_else(String::new, |record| record.log));
            assert!(read == text, "{driver:?}: {} of {} bytes", read.len(), text.len());
        }
    }

    #[test]
    fn only_existing_files_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=1", "max-file=4294967295"]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        for number in 0..12 {
            writer.write(Stream::Out, format!("{number}\n").as_bytes()).unwrap();
        }
        fs::write(folder.path().join("c-json.log.x"), "").unwrap();
        assert_eq!(settings.kept(), (1..=12).collect::<Vec<_>>());
        assert_eq!(read_all(settings), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n");
    }

    #[test]
    fn a_reader_misses_nothing_while_files_are_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=150", "max-file=5"]);
        let mut writer = Writer::open(settings.clone()).unwrap();
        let mut reader = Reader::open(settings);
        let mut expected = String::new();
        let mut read = String::new();
        for number in 0..40 {
            let line = format!("{number}\n");
            writer.write(Stream::Out, line.as_bytes()).unwrap();
            expected.push_str(&line);
            // Read after one, two or more rotations.
            if number % 5 == 0 || number % 7 == 0 {
                read.extend(std::iter::from_fn(|| reader.next().unwrap()).map(|record| record.log));
            }
        }
        read.extend(std::iter::from_fn(|| reader.next().unwrap()).map(|record| record.log));
        assert_eq!(read, expected);
    }

    #[test]
    fn a_truncated_record_does_not_swallow_another() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), &["max-size=150"]);
        fs::write(&settings.path, "{\"log\":\"cut").unwrap();
        let mut writer = Writer::open(settings.clone()).unwrap();
        writer.write(Stream::Out, b"one\n").unwrap();
        assert_eq!(read_all(settings.clone()), "{\"log\":\"cut\none\n");
        // A file that someone has removed does not hinder rotation.
        fs::remove_file(&settings.path).unwrap();
        writer.write(Stream::Out, "x".repeat(200).as_bytes()).unwrap();
        writer.write(Stream::Out, b"\ntwo\n").unwrap();
        assert!(read_all(settings).ends_with("two\n"));
    }
}
