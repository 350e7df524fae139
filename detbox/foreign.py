"""Settings under the names that other toolboxes give them."""

from __future__ import annotations

import re
from collections.abc import Callable

_RUN = "hydra.run.dir=runs/{}"
_START = ("init={} (a detector)", "backbone.weights={} (a backbone)", "ckpt={} (to resume)")
_SIZE = ("data.image_size={}", "data.train_sizes=[{0}] data.eval_size={0}")
_DEVICE = ("trainer.accelerator=cpu|cuda|mps", "trainer.devices=[0]")
_TABLE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("epochs epoch num_epochs n_epochs", ("trainer.max_epochs={}",)),
    ("max_iter iterations num_steps steps", ("trainer.max_steps={}",)),
    ("learning_rate lr0 base_lr", ("optimizer.lr={}",)),
    ("lr_backbone backbone_lr", ("optimizer.lr_factors.backbone=0.1",)),
    ("wd decay", ("optimizer.weight_decay={}",)),
    ("warmup warmup_iters warmup_epochs", ("schedule.warmup_steps=500",)),
    ("lr_drop milestones", ("schedule.drops=[0.92]",)),
    ("scheduler lr_scheduler cos_lr", ("schedule=cosine",)),
    ("imgsz img_size imgs resolution size", _SIZE),
    ("batch bs ims_per_batch train_batch_size", ("data.batch_size={}", "data.total_batch={}")),
    ("num_workers", ("data.workers={}",)),
    ("data_path data_dir dataset_dir coco_path dataset", ("data=coco data.root={}",)),
    ("fliplr hflip", ("data.flip={}",)),
    ("mosaic mixup augmentations", ("data.augment=[flip,resize]",)),
    ("weights load_from checkpoint", _START),
    ("pretrained", ("backbone.pretrained={}", *_START[:2])),
    ("resume resume_from resume_from_checkpoint", ("ckpt=RUN",)),
    ("gpus num_gpus nproc_per_node", ("trainer.devices={}",)),
    ("device gpu cuda", _DEVICE),
    ("amp fp16 half bf16", ("trainer.precision=bf16-mixed",)),
    (
        "accumulate accum_iter gradient_accumulation_steps",
        ("trainer.accumulate_grad_batches={}",),
    ),
    ("clip_max_norm grad_clip max_norm", ("trainer.gradient_clip_val={}",)),
    ("eval_interval val_interval", ("trainer.check_val_every_n_epoch={}",)),
    ("overfit_batches overfit_batch", ("overfit={}",)),
    ("fast_dev_run dry_run", ("trainer=smoke",)),
    ("save_period save_interval", ("callbacks.checkpoints.every_n_steps=500",)),
    ("name run_name exp_name project output_dir output save_dir work_dir out", (_RUN,)),
    ("wandb use_wandb", ("logger=wandb",)),
    ("conf conf_thres confidence score_thr score", ("threshold={}",)),
    ("iou iou_thres nms", ("postprocess.nms_iou={}",)),
    ("max_det topk num_top_queries", ("postprocess.num_select={}",)),
    ("input images image img path", ("source={}",)),
    ("model", ("ckpt={}",)),
    ("arch model_name detector", ("model={}",)),
)
OURS = {name: said for names, said in _TABLE for name in names.split()}
"""a key elsewhere -> what to type here, with `{}` for its value"""
_CLASSES = "the classes come from the annotations, and go into the checkpoint"
_BEST = "there is none; the best checkpoint by AP is kept in any case"
SAID = {
    **dict.fromkeys(("num_classes", "nc", "classes", "class_names"), _CLASSES),
    **dict.fromkeys(("patience", "early_stop", "early_stopping"), _BEST),
}
"""a key elsewhere -> why there is none here"""


def translated(key: str, value: str, known: Callable[[str], bool]) -> str:
    """The end of a message on an unknown key: what it is called here, or empty.

    Args:
        key: as it was typed, with its section if it had one.
        value: that it was given.
        known: whether the command has a key or a group of that name.
    """
    name = key.rpartition(".")[2].lower()
    if name in SAID:
        return SAID[name]
    said = [each for each in OURS.get(name, ()) if all(map(known, keys_of(each)))]
    return f"here it is {' or '.join(each.format(value) for each in said)}" if said else ""


def keys_of(said: str) -> list[str]:
    """The keys of what is to be typed."""
    return re.findall(r"([\w./]+)=", said)
