"""Who is named of what a deadline ended over SSH."""

from lab.providers.vagrant.ssh import named


def test_one_that_is_slow_to_go_is_named_once_and_the_command_itself_never() -> None:
    """The second turn may meet what the first one killed."""
    text = "7 sh -c sleep 67 & exit 3 \n8 sleep 67 \n9 sleep 67 \n8 sleep 67 \n10 \n"
    assert named(text, but=7) == {"8": "sleep 67", "9": "sleep 67", "10": ""}
    assert named("", but=None) == {}
