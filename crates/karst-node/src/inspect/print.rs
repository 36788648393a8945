//! The report for people.

use std::fmt;

use super::{BlockRow, RecordRow, Report, Totals};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        if self.records.is_none() {
            self.sums(f)?;
        }
        if !self.filled_blocks.is_empty() {
            blocks(f, &self.filled_blocks)?;
        }
        if self.filled_blocks_unlisted > 0 {
            writeln!(f, "... and {} more blocks", self.filled_blocks_unlisted)?;
        }
        match &self.records {
            Some(rows) if rows.is_empty() => writeln!(f, "\nthe block holds no record"),
            Some(rows) => records(f, rows),
            None => Ok(()),
        }
    }
}

impl Report {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = &self.layout;
        let path = self.path.display();
        writeln!(
            f,
            "{path}: {} bytes, sectors of {}",
            self.size_bytes, self.sector_bytes
        )?;
        writeln!(
            f,
            "namespace    {} (device {} of it)",
            layout.namespace, layout.position
        )?;
        writeln!(f, "cluster      {}", layout.cluster)?;
        writeln!(
            f,
            "device       {} (session {}{})",
            layout.device,
            layout.session,
            if layout.encrypted { ", encrypted" } else { "" }
        )?;
        write!(f, "superblocks ")?;
        for superblock in &self.superblocks {
            match superblock.generation {
                Some(generation) => write!(f, " sound (generation {generation})")?,
                None => write!(f, " DAMAGED")?,
            }
        }
        writeln!(f)?;
        write!(
            f,
            "layout       {} blocks of {} bytes",
            layout.blocks, layout.block_bytes
        )?;
        match layout.blocks_missing {
            0 => writeln!(f),
            missing => writeln!(f, ", {missing} of them BEYOND THE DEVICE'S END"),
        }
    }

    fn sums(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = &self.blocks;
        writeln!(
            f,
            "blocks       {} filled, {} never used, {} with a damaged header, {} unreadable",
            blocks.filled, blocks.blank, blocks.damaged, blocks.unreadable
        )?;
        if blocks.filled > 0 {
            writeln!(
                f,
                "fills        {} to {}",
                blocks.oldest_fill, blocks.newest_fill
            )?;
        }
        writeln!(
            f,
            "records      {} sound, {} damaged, {} torn by a stop, left by earlier fills or damaged",
            self.totals.records + self.totals.tombstones + self.totals.encrypted,
            self.totals.damaged,
            self.totals.torn_or_stale
        )?;
        writeln!(
            f,
            "\n{:<24} {:>12} {:>12} {:>16}",
            "set", "records", "tombstones", "bytes"
        )?;
        if self.totals.encrypted > 0 {
            writeln!(f, "(encrypted: give --key-file to see more)")?;
        }
        for (name, totals) in &self.sets {
            set(f, if name.is_empty() { "(none)" } else { name }, totals)?;
        }
        set(f, "total", &self.totals)?;
        writeln!(
            f,
            "older versions of records count until their block is reused"
        )
    }
}

fn set(f: &mut fmt::Formatter<'_>, name: &str, totals: &Totals) -> fmt::Result {
    let Totals {
        records,
        tombstones,
        bytes,
        ..
    } = totals;
    writeln!(
        f,
        "{:<24} {records:>12} {tombstones:>12} {bytes:>16}",
        printable(name)
    )
}

fn blocks(f: &mut fmt::Formatter<'_>, rows: &[BlockRow]) -> fmt::Result {
    let titles = [
        "block",
        "fill",
        "records",
        "tombstones",
        "bytes",
        "damaged",
        "torn/stale",
    ];
    writeln!(f)?;
    titles
        .iter()
        .try_for_each(|title| write!(f, "{title:>12}"))?;
    writeln!(f)?;
    for row in rows {
        let Totals {
            records,
            tombstones,
            bytes,
            damaged,
            torn_or_stale,
            ..
        } = row.totals;
        let cells = [
            u64::from(row.block),
            row.fill,
            records,
            tombstones,
            bytes,
            damaged,
            torn_or_stale,
        ];
        cells.iter().try_for_each(|cell| write!(f, "{cell:>12}"))?;
        writeln!(f)?;
    }
    Ok(())
}

fn records(f: &mut fmt::Formatter<'_>, rows: &[RecordRow]) -> fmt::Result {
    writeln!(
        f,
        "\n{:>16} {:>9} {:<40} {:>5} {:>12}  set, bins",
        "offset", "bytes", "digest", "gen", "version"
    )?;
    for row in rows {
        write!(
            f,
            "{:>16} {:>9} {} {:>5} {:>12}  {}",
            row.offset,
            row.bytes,
            row.digest,
            row.generation,
            row.version,
            printable(&row.set)
        )?;
        if row.tombstone {
            write!(f, " deleted")?;
        }
        for bin in &row.bins {
            write!(
                f,
                " {}:{}({})",
                printable(&bin.name),
                bin.particle,
                bin.bytes
            )?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// Names come from clients: nothing in them may move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}
