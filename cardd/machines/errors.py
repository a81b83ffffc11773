"""What can go wrong between machines."""

from cardd.errors import CarddError, ConflictError, UnavailableError
from cardd.text import Text


class SigningMachineUnavailableError(UnavailableError):
    """No machine that holds the CA keys signs for this one now; `machines` says why each does not."""

    code = "signing_machine_unavailable"
    title = Text("No machine signs now", "Aucune machine ne signe actuellement")
    default_advice = Text(
        "Start cardd on the machine that holds the CA keys, with machines.listen set, and enrol this one there "
        "(`cardd machine enrol`); then try again.",
        "Démarrez cardd, avec machines.listen, sur la machine qui détient les clés d’AC, et inscrivez-y celle-ci "
        "(« cardd machine enrol ») ; puis réessayez.",
    )


class SigningRefusedError(ConflictError):
    """The machine that holds the CA keys found no reason to sign what it was asked."""

    code = "signing_refused"
    title = Text("The signing machine refuses", "La machine qui signe refuse")
    default_advice = Text(
        "See the journal of that machine; order again where the order has changed meanwhile.",
        "Consultez le journal de cette machine ; commandez de nouveau si la commande a changé entre-temps.",
    )


class MachineNotEnrolledError(CarddError):
    """A machine that is not enrolled asks, or would enrol others."""

    code = "machine_not_enrolled"
    status = 403
    title = Text("This machine is not enrolled", "Cette machine n’est pas inscrite")
    default_advice = Text(
        "Enrol it on a machine that is: `cardd machine list`, then `cardd machine enrol`.",
        "Inscrivez-la sur une machine qui l’est : « cardd machine list », puis « cardd machine enrol ».",
    )


class MachineAddressError(CarddError):
    """The address on which this machine is to sign for others cannot be used."""

    code = "machine_address_unusable"
    status = 500
    title = Text(
        "The address for other machines cannot be used", "L’adresse pour les autres machines est inutilisable"
    )
    default_advice = Text(
        "Set machines.listen to an address of this machine and a free port, such as 192.0.2.10:8981.",
        "Donnez à machines.listen une adresse de cette machine et un port libre, comme 192.0.2.10:8981.",
    )
