def home(request, context):
    return context


def navigation(request):
    return []
